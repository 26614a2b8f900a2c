"""`torchbp check pkg.mod:Name …`, `torchbp check RUN`: audit from the shell.

Exit status: 0 no defect; 1 defects; 2 the command could not run.
"""

import importlib.util
import sys

from torchbp.cli.parser import Parser
from torchbp.printing import complain
from torchbp.testing.checks import CHECKS, LEVELS, chosen_checks
from torchbp.testing.cli.refusal import Refusal
from torchbp.testing.cli.worker import Target, audit_in_worker, is_run
from torchbp.testing.options import Options

MAX_TIMEOUT = 1e6  # seconds


def parser():
    p = Parser(prog="torchbp check", description="Audit the gradients of a function, a Function, a module or an op.")
    p.add_argument(
        "target",
        metavar="pkg.mod:Name",
        help="what to audit; a class of modules is called without arguments. Or RUN, the folder of a run of fit",
    )
    p.add_argument("--member", type=int, metavar="N", help="of RUN, the network with this number, where it has several")
    p.add_argument("--inputs", metavar="pkg.mod:make", help="a function that returns the inputs, or the inputs")
    p.add_argument(
        "--shape", metavar="3,4", nargs="+", action="extend", help="shapes of random inputs, one for each argument"
    )
    p.add_argument("--level", choices=LEVELS, default="default", help="which checks")
    p.add_argument("--checks", metavar="NAME", nargs="+", help=f"these alone: {', '.join(CHECKS)}")
    p.add_argument("--skip", metavar="NAME", nargs="+", default=[], help="not these")
    p.add_argument("--require", metavar="NAME", nargs="+", default=[], help="these fail if they are UNSUPPORTED")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers")
    p.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one check, or one layer")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p


def main(arguments):
    """Run `torchbp check ARGUMENTS…`; `arguments` begins with the command's name."""
    options = parser().parse_args(arguments[1:])
    try:
        names = chosen_checks(options.checks or options.level, options.skip, options.require)
        if not 0 < options.timeout <= MAX_TIMEOUT:
            raise ValueError(f"--timeout must be a positive number of seconds, at most {MAX_TIMEOUT}")
        shapes = tuple(map(_shape, options.shape or ()))
        seed = Options(seed=options.seed).seed
        if options.member is not None and not is_run(options.target):
            raise ValueError(f"--member {options.member} is of a run's folder, and {options.target} is none")
        target = Target(
            options.target,
            options.inputs,
            shapes,
            seed,
            require=tuple(options.require),
            member=options.member,
            asked=(*(options.checks or ()), *options.require),
            skip=tuple(options.skip),
        )
        report = audit_in_worker(target, names, options.timeout)
    except (ValueError, Refusal) as error:
        complain(error)
        return 2
    _show(report, options.json)
    return 0 if report.sound else 1


def _shape(text):
    """(3, 4) of "3,4"; () of an empty text."""
    sizes = text.split(",") if text else []
    if not all(size.isascii() and size.isdigit() for size in sizes):
        raise ValueError(f"--shape must be sizes such as 3,4, not {text!r}")
    return tuple(map(int, sizes))


def _show(report, as_json):
    """Print the report, with colours on a terminal if rich is installed."""
    if as_json:
        print(report.to_json())
    elif sys.stdout.isatty() and importlib.util.find_spec("rich"):
        from rich.console import Console

        Console().print(report)
    else:
        print(report)
