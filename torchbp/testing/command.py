"""`torchbp check pkg.mod:Name …`: audit from the shell. Exit status 0 sound, 1 defects, 2 could not run."""

import argparse
import json
import sys

from torchbp.testing.auditor import chosen
from torchbp.testing.checks import CHECKS, LEVELS
from torchbp.testing.child import Target, audited
from torchbp.testing.report import FAIL, Report, Result


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"torchbp: error: {message}", file=sys.stderr)
        raise SystemExit(2)


def parser():
    p = Parser(prog="torchbp check", description="Audit the gradients of a function, a Function, a module or an op.")
    p.add_argument("target", metavar="pkg.mod:Name", help="what to audit; a class of modules is made without arguments")
    p.add_argument("--inputs", metavar="pkg.mod:make", help="a function that returns the inputs, or the inputs")
    p.add_argument("--shape", metavar="3,4", nargs="+", action="extend", help="of random inputs, one for each argument")
    p.add_argument("--level", choices=LEVELS, default="default", help="how many checks (default)")
    p.add_argument("--checks", metavar="NAME", nargs="+", help=f"these alone: {', '.join(CHECKS)}")
    p.add_argument("--skip", metavar="NAME", nargs="+", default=[], help="not these")
    p.add_argument("--require", metavar="NAME", nargs="+", default=[], help="these must be supported")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the random numbers (0)")
    p.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for one check (60)")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p


def main(arguments):
    """Run `torchbp check ARGUMENTS…`; `arguments` begins with the command's name."""
    try:
        options = parser().parse_args(arguments[1:])
    except SystemExit as stop:
        return stop.code or 0
    try:
        names = chosen(options.checks or options.level, options.skip, options.require)
        shapes = [tuple(int(n) for n in text.split(",") if n) for text in options.shape or ()]
    except ValueError as error:
        return refuse(error)
    if options.timeout <= 0:
        return refuse("--timeout must be a positive number of seconds")
    target = Target(options.target, options.inputs, shapes, options.seed, tuple(options.require))
    found = audited(target, names, options.timeout)
    if "error" in found:
        return refuse(found["error"])
    results = [Result(**{**row, "details": tuple(row["details"])}) for row in found["results"]]
    report = Report(found["name"], results, tuple(found["notes"]), options.seed)
    show(report, options.json)
    return 1 if any(result.status == FAIL for result in results) else 0


def refuse(message):
    print(f"torchbp: error: {message}", file=sys.stderr)
    return 2


def show(report, as_json):
    """Colours only on a terminal."""
    if as_json:
        print(json.dumps(json.loads(report.to_json()), ensure_ascii=False, indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(report)
    else:
        print(report)
