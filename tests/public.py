"""The public functions and classes of torchbp, by their names."""

import inspect

import torchbp

PACKAGES = torchbp, torchbp.ops, torchbp.nn, torchbp.engine, torchbp.testing, torchbp.explanation, torchbp.training
PACKAGES = *PACKAGES, torchbp.estimators


def public_objects():
    """{qualified name: object} of the public functions and classes, and the methods that a class defines itself."""
    found = {}
    for package in PACKAGES:
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.ismodule(value):
                continue
            found.setdefault(value, f"{package.__name__}.{name}")
            for method, function in vars(value).items() if inspect.isclass(value) else ():
                if not method.startswith("_") and inspect.isfunction(function):
                    found.setdefault(function, f"{package.__name__}.{name}.{method}")
    return {name: value for value, name in found.items()}
