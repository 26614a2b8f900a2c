"""Audit the differentiable functions of published packages, as far as they are installed.

    python -m tests.testing.audited_packages [--package entmax] [--name sparsemax] [--checks default]

`tests/testing/packages/` has the table: of each package its functions, their inputs, and what is known to fail, with a
reason. Each package is audited in a process of its own. A failure that is not known is printed, and makes the exit
status 1; so does a known one that is no longer found.
"""

import argparse
import functools
import importlib.metadata
import sys
import time
import warnings

import torch

import torchbp.testing.audit
import torchbp.testing.checks
from tests.testing.packages import PACKAGES
from tests.testing.separate_process import messages_of
from torchbp.testing.report import CannotRun

PATIENCE = 300  # seconds for one function
LEVEL = "default"  # at which the table is complete


def installed(package):
    """Its version; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def audit(subject, checks):
    """(the report, or a line on why there is none; {check: message} of what failed)."""
    torch.manual_seed(0)
    try:
        options = {"checks": checks, "raise_exception": False, **subject.options}
        report = torchbp.check(subject.function, subject.inputs, **options)
    except CannotRun as error:
        return f"refused: {error}", {"refused": str(error)}
    return str(report), {result.check: result.message for result in report.failed}


def audit_package(make, part, checks, send):
    """Send (name, seconds, report, what failed, what is known) of each function whose name has the part."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for subject in make():
        if part in subject.name:
            start = time.perf_counter()
            report, failures = audit(subject, checks)
            send((subject.name, time.perf_counter() - start, report, failures, subject.known))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", default="", help="part of the name of a package")
    parser.add_argument("--name", default="", help="part of the name of a function")
    parser.add_argument("--checks", default=LEVEL, help="a level or a check (default: %(default)s)")
    parser.add_argument("--reports", action="store_true", help="print each report that has a failure, whole")
    options = parser.parse_args(argv)
    for check in torchbp.testing.checks.CHECKS:
        torchbp.testing.checks.check_function(check)

    missing, unexpected = [], []
    for package, make in PACKAGES.items():
        if options.package not in package:
            continue
        version = installed(package)
        if version is None:
            missing.append(package)
            continue
        work = functools.partial(audit_package, make, options.name, options.checks)
        rows, ending = messages_of(work, PATIENCE)
        if ending is not None:
            unexpected.append(package)
            print(f"new    {package} {version}: {ending}, after {rows[-1][0] if rows else 'no function'}")
        for name, seconds, report, failures, known in rows:
            differing = failures.keys() ^ known.keys() if options.checks == LEVEL else failures.keys() - known.keys()
            word = "new" if differing else "known" if failures else "sound"
            print(f"{word:<6} {package} {version} {name} {seconds:.1f} s", flush=True)
            unexpected += [f"{package} {name}"] if differing else []
            for check in sorted(differing):
                print(f"       {check}: {failures.get(check, 'is known, and was not found')}")
            if options.reports and failures:
                print(report)
    if missing:
        print(f"not installed: {', '.join(missing)}")
    print(f"not as the table says: {', '.join(unexpected) or 'none'}")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
