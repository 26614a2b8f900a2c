"""The one command, `torchbp`. A command's code is imported when it is called, so that `--help` answers at once."""

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from typing import NamedTuple

import torchbp
from torchbp._imports import MissingPackageError, extra_needed
from torchbp.cli.help import SECTIONS, help_page
from torchbp.cli.layout import page
from torchbp.printing import complain, did_you_mean

SUMMARY = "Backpropagation with its formulas in plain sight, for PyTorch."
INTERRUPTED = 128 + signal.SIGINT
READER_IS_GONE = 128 + 13  # SIGPIPE, which Windows lacks


class Command(NamedTuple):
    """module: its `main(arguments)` runs the command, and returns the exit status. extra: has what it imports."""

    module: str
    what: str
    extra: str | None


TRAINING, EXPLANATION = "torchbp.training.cli.command", "torchbp.explanation.cli.command"
EXPORT = "torchbp.training.export.command"
CHECK, BENCH = "torchbp.testing.cli.command", "torchbp.benchmarks.command"
COMMANDS = {
    "fit": Command(TRAINING, "Train a network on tabular data.", "train"),
    "validate": Command(TRAINING, "Score a checkpoint on the validation rows.", "train"),
    "test": Command(TRAINING, "Score a checkpoint on the test rows.", "train"),
    "predict": Command(TRAINING, "Write the class of every row to a file, with its probability.", "train"),
    "export": Command(EXPORT, "Write a network as ONNX, TorchScript or safetensors.", "train"),
    "explain": Command(EXPLANATION, "Show a row's way through a network, and every derivative of it.", "train"),
    "check": Command(CHECK, "Audit the gradients of a function, a Function, a module or an operator.", None),
    "bench": Command(BENCH, "Time torchbp beside its peers on this machine.", "bench"),
    "configs": Command("torchbp.cli.configs", "List the packaged configurations, or copy one here.", None),
}


def main(arguments: list[str] | None = None) -> int:
    """Run `torchbp ARGUMENTS…`. Returns the exit status: 0, or 1 or 2 after a line on stderr that says why; and
    128 + the number of a signal that has ended the command: 130 after Ctrl-C.

    arguments: None are those of this process, which ends afterwards. While libraries are imported, and before the first
    step of a training command, Ctrl-C ends the process at once, unless the caller has a handler of its own.
    """
    whole_process, arguments = arguments is None, sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # α is \u03b1 where the terminal's encoding lacks it
    try:
        status = _status(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, head for example, has seen enough
        _discard_output()
        return READER_IS_GONE
    except OSError as error:  # of the flush: commands name the files that they write
        _discard_output(stderr=False)
        complain(f"the output cannot be written: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        print("torchbp: interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        if whole_process and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exception while Python ends would print a traceback


def _status(arguments):
    try:
        return _run(arguments)
    except SystemExit as stop:  # of a parser, after its line or its help page
        return stop.code or 0
    except MissingPackageError as error:
        complain(error)
        return 1


def _discard_output(stderr=True):
    """What is still to be written at the end of the process goes nowhere."""
    for stream in (sys.stdout, *([sys.stderr] if stderr else [])):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, closed, or without a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments):
    if not arguments or arguments[0] in ("-h", "--help"):
        commands = [(name, command.what) for name, command in COMMANDS.items()]
        ending = "torchbp COMMAND --help lists the options of a command."
        print(page("torchbp COMMAND [OPTION …]", SUMMARY, {"": commands}, ending))
        return 0 if arguments else 2
    name = arguments[0]
    if name == "--version":
        print(f"torchbp {torchbp.__version__}")
        return 0
    if name not in COMMANDS:
        complain(f"there is no command {name!r}; {did_you_mean(name, COMMANDS)}")
        return 2
    command = COMMANDS[name]
    if name in SECTIONS and {"-h", "--help"} & set(arguments):
        if arguments[-1] != "all":
            print(help_page(name, command.what))
            return 0
        arguments = [name, "--help"]
    with _ctrl_c_ends_the_process():
        with extra_needed(command.extra, f"torchbp {name}"):
            module = importlib.import_module(command.module)
        if command.module == TRAINING:  # it has a handler of its own for the time when there is something to keep
            return module.main(arguments)
    return module.main(arguments)


@contextlib.contextmanager
def _ctrl_c_ends_the_process():
    """While libraries are imported, and a training command prepares: their code may turn a KeyboardInterrupt into any
    other error, print it, or leave a lock that the end of the process waits for."""

    def end(number, frame):
        os.write(2, b"torchbp: interrupted\n")
        os._exit(INTERRUPTED)

    python = signal.default_int_handler  # another handler is the caller's, or the signal is ignored
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not python:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, python)
