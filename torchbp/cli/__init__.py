"""The one command, `torchbp`. A command's code is imported when it is called, so that `--help` answers at once."""

import difflib
import importlib
import io
import sys

from torchbp.cli.usage import OPTIONS, usage
from torchbp.printing import complain

# command: the module whose `main(arguments)` runs it, and what it does
COMMANDS = {
    "fit": ("torchbp.training.cli.command", "Train a network on tabular data."),
    "validate": ("torchbp.training.cli.command", "Score a checkpoint on the validation rows."),
    "test": ("torchbp.training.cli.command", "Score a checkpoint on the test rows."),
    "predict": ("torchbp.training.cli.command", "Write the class of every row to a file, with its probability."),
    "check": ("torchbp.testing.cli.command", "Audit the gradients of a function, a Function or a module."),
    "explain": ("torchbp.explanation.cli.command", "Show a row's way through a network, and every derivative of it."),
    "bench": ("torchbp.benchmarks.command", "Time torchbp beside its peers on this machine."),
}


def main(arguments=None):
    """Run `torchbp ARGUMENTS…`. Returns the exit status: 0, or 1 or 2 after a line on stderr that says why."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # α is \u03b1 where the terminal's encoding lacks it
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    name = arguments[0]
    if name == "--version":
        print(f"torchbp {importlib.import_module('torchbp').__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(COMMANDS)}"
        complain(f"there is no command {name!r}; {hint}")
        return 2
    module, what = COMMANDS[name]
    if name in OPTIONS and {"-h", "--help"} & set(arguments):
        if arguments[-1] != "all":
            print(usage(name, what))
            return 0
        arguments = [name, "--help"]
    try:
        return importlib.import_module(module).main(arguments)
    except KeyboardInterrupt:
        print("torchbp: interrupted", file=sys.stderr)
        return 130


def overview():
    lines = [f"  {name:<10} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        ["usage: torchbp COMMAND [-c FILE] [--KEY VALUE …]", "", *lines, "", "torchbp COMMAND --help lists the keys."]
    )
