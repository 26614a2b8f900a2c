"""Imports that wait: public names are imported when they are first used (PEP 562), and a missing package is one line
that says what to install."""

import contextlib
import importlib
import sys


class MissingPackageError(ModuleNotFoundError):
    """A package of an extra is not installed; the message says which, and how to install it."""


@contextlib.contextmanager
def extra_needed(extra, what):
    """Within it, a package that is not installed raises a MissingPackageError, which names the extra that has it.

    Args:
        extra: the name in `torchbp[EXTRA]`.
        what: the name or the command that needs it, for the message.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "torchbp").partition(".")[0]
        if package == "torchbp":  # a defect of ours, or said already
            raise
        message = f'{what} needs {package}, which is not installed: pip install "torchbp[{extra}]"'
        raise MissingPackageError(message, name=error.name) from None


def lazy(package, names, defined_in, extra=None):
    """The functions `__getattr__` and `__dir__` of a package whose public names are imported when they are first used.

    Args:
        package: its `__name__`.
        names: its public names, `__all__`.
        defined_in: name → the module that defines it; a name that is not in it is a subpackage.
        extra: the extra of setup.cfg that has what these modules import.

    Example:
        >>> __getattr__, __dir__ = lazy(__name__, ["check", "nn"], {"check": "torchbp.testing"})
    """

    def __getattr__(name):
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name not in defined_in:
            return importlib.import_module(f"{package}.{name}")
        with extra_needed(extra, f"{package}.{name}") if extra else contextlib.nullcontext():
            value = getattr(importlib.import_module(defined_in[name]), name)
        setattr(sys.modules[package], name, value)  # the next access finds it without this function
        return value

    def __dir__():
        return sorted({*names, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return __getattr__, __dir__
