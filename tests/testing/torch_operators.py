"""Audit torch's own operators and modules, by the samples that torch tests them with.

    python -m tests.testing.torch_operators [--seconds 20] [--seed 0] [--name conv] [--modules] [--records FILE]

Each operator is audited in a process of its own, sample after sample, until its seconds are over. A failure that
`tests/testing/known_of_torch.py` does not name is printed with the number of its sample, and makes the exit status 1.
With a file of records, a further run goes on with the samples that are not in it yet.
"""

import argparse
import functools
import json
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch.utils._pytree import tree_leaves

import torchbp.testing.audit
import torchbp.testing.checks
from tests.testing.known_of_torch import KNOWN
from tests.testing.separate_process import messages_of
from torchbp.testing.report import CannotRun

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's test helpers import deprecated parts of torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

SKIPPED = ("compile",)
PATIENCE = 120  # seconds for one sample
OUTCOMES = ("new", "known", "sound", "empty")  # of a sample; of an operator, the first of its samples


def operators(part=""):
    """{name: a generator of (function, inputs)} of the operators that have derivatives."""
    infos = [info for info in op_db if info.supports_autograd and torch.float64 in info.dtypes]
    named = {f"{i.name}{'.' if i.variant_test_name else ''}{i.variant_test_name}": i for i in infos}
    return {name: lambda info=info: _samples(info) for name, info in named.items() if part in name}


def modules(part=""):
    """The same for modules, in training and in evaluation."""
    infos = [info for info in module_db if part in info.name and torch.float64 in info.dtypes]
    return {info.name: lambda info=info: _module_samples(info) for info in infos}


def _samples(info):
    for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):

        def function(*args, sample=sample, info=info, **kwargs):
            result = info.gradcheck_wrapper(info.op, *args, **kwargs)  # of a symmetric matrix, for example
            return sample.output_process_fn_grad(result)

        yield function, {"*": (sample.input, *sample.args), **sample.kwargs}


def _module_samples(info):
    for training in (True, False):
        for sample in info.module_inputs_func(info, "cpu", torch.float64, requires_grad=True, training=training):
            arguments = sample.constructor_input
            module = info.module_cls(*arguments.args, **arguments.kwargs).double().train(training)
            call = sample.forward_input
            yield module, {"*": call.args, **call.kwargs}


class Positional(torch.nn.Module):
    """A function or a module whose keywords `names` are given as further positional arguments."""

    def __init__(self, function, count, names, constants):
        super().__init__()
        self.function, self.count, self.names, self.constants = function, count, names, constants

    def forward(self, *args):
        named = dict(zip(self.names, args[self.count :], strict=True))
        return self.function(*args[: self.count], **named, **self.constants)


def audit(function, inputs, **options):
    """The report; a str where the auditor refuses, and “empty” where there are no numbers."""
    inputs = dict(inputs)
    args = inputs.pop("*")
    target = function
    if inputs:
        tensors = [name for name, value in inputs.items() if isinstance(value, torch.Tensor)]
        constants = {name: value for name, value in inputs.items() if name not in tensors}
        target = Positional(function, len(args), tensors, constants)
        target = target if isinstance(function, torch.nn.Module) else target.forward
        args = (*args, *(inputs[name] for name in tensors))

    parameters = target.parameters() if isinstance(target, torch.nn.Module) else ()
    if not any(t.numel() and t.requires_grad for t in (*tree_leaves(args), *parameters) if isinstance(t, torch.Tensor)):
        return "empty"
    try:
        report = torchbp.check(target, tuple(args), checks="default", skip=SKIPPED, raise_exception=False, **options)
        return "empty" if "every output is empty" in report["values"].message else report
    except CannotRun as error:
        return f"refused: {error}"[:200]
    except Exception as error:
        return f"the auditor raises {type(error).__name__}: {error}"[:200]


def audit_samples(make, seconds, seed, done, again, send):
    """Send how many samples there are and the numbers of those to audit; then (number, seconds, failures) of each.

    `failures` is {check: message}; None if there are no numbers to audit. The first sample comes first, then those that
    are left, in a random order: those beside each other differ little. `done` are left out; of `again`, if there are
    any, these alone are audited.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    seed_all(0)  # the samples have their numbers from torch, NumPy and Python
    samples = list(make())
    order = list(range(1, len(samples)))
    random.Random(seed).shuffle(order)
    order = [number for number in again or (0, *order) if number not in done and number < len(samples)]
    send((len(samples), order))
    began = time.perf_counter()
    for number in order:
        start = time.perf_counter()
        failures = failures_of(audit(*samples[number]))
        now = time.perf_counter()
        send((number, round(now - start, 2), failures))
        if now - began > seconds:
            break
    send(None)


def failures_of(report):
    """{check: message} of what `audit` returns; None if there are no numbers."""
    if isinstance(report, str):
        return None if report == "empty" else {"refused": report}
    return {result.check: result.message for result in report.failed}


def seed_all(seed):
    random.seed(seed)
    numpy.random.seed(seed)  # noqa: NPY002 - what torch's samples read
    torch.manual_seed(seed)


def audit_in_process(name, make, seconds, seed, done=(), again=()):
    """The records of the samples that were audited; the one at which the process ended has the failure “process”."""
    work = functools.partial(audit_samples, make, seconds, seed, done, again)
    messages, ending = messages_of(work, seconds + PATIENCE)
    total, order = messages[0] if messages else (0, [0])
    rows = [message for message in messages[1:] if message is not None]
    if ending is not None or (messages and messages[-1] is not None):
        number = [*order[len(rows) :], 0][0]
        rows.append((number, 0.0, {"process": ending or "the process ends"}))
    return [Record(name, total, *row) for row in rows]


class Record(NamedTuple):
    """How the audit of one sample ended."""

    name: str  # of the operator
    total: int  # how many samples it has
    number: int  # of this one
    seconds: float
    failures: dict | None  # {check: message}; None if there are no numbers

    def outcome(self):
        """One of OUTCOMES: “known” if `known_of_torch` names every failure, else “new”."""
        if not self.failures:
            return "empty" if self.failures is None else "sound"
        return "known" if self.failures.keys() <= KNOWN.get(self.name, {}).keys() else "new"


def read_records(path):
    """{(operator, number): record}; a later line of one sample stands for an earlier one."""
    if path is None or not path.exists():
        return {}
    records = [Record(**json.loads(line)) for line in path.read_text().splitlines()]
    return {(record.name, record.number): record for record in records}


def summary(records):
    """A line on the operators, by their worst sample, and one on the samples."""
    worst = {}
    for record in records:
        worst[record.name] = min(worst.get(record.name, "empty"), record.outcome(), key=OUTCOMES.index)
    lines = []
    for words, counts in (("operators", Counter(worst.values())), ("samples", Counter(r.outcome() for r in records))):
        parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
        lines.append(f"{counts.total()} {words}: {parts or 'none'}")
    return lines


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=20, help="for each operator, at least one sample (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the samples (default: %(default)s)")
    parser.add_argument("--name", default="", help="part of the name of an operator")
    parser.add_argument("--modules", action="store_true", help="modules instead of operators")
    parser.add_argument("--records", type=Path, help="a file of what was audited, which a further run adds to")
    parser.add_argument("--again", action="store_true", help="audit again what failed anew, by the file of records")
    options = parser.parse_args(argv)

    for check in torchbp.testing.checks.CHECKS:
        torchbp.testing.checks.check_function(check)
    records = read_records(options.records)
    table = (modules if options.modules else operators)(options.name)
    for name, make in table.items():
        earlier = [record for record in records.values() if record.name == name]
        again = [record.number for record in earlier if options.again and record.outcome() == "new"]
        is_done = not again if options.again else earlier and len(earlier) >= earlier[0].total
        if is_done:
            continue
        done = () if again else [record.number for record in earlier]
        found = audit_in_process(name, make, options.seconds, options.seed, done, again)
        records |= {(name, record.number): record for record in found}
        if options.records is not None:
            with options.records.open("a") as file:
                file.writelines(json.dumps(record._asdict()) + "\n" for record in found)
        _print_line(name, found)
    of_table = [record for record in records.values() if record.name in table]
    print("\n".join(summary(of_table)))
    return 1 if any(record.outcome() == "new" for record in of_table) else 0


def _print_line(name, records):
    """A line on one operator, and one on each failure that `known_of_torch` does not name."""
    outcomes = [record.outcome() for record in records]
    word = next((outcome for outcome in OUTCOMES if outcome in outcomes), "empty")
    numbers = " ".join(str(record.number) for record in records)
    print(f"{word:<6} {name} {numbers} {sum(record.seconds for record in records):.1f} s", flush=True)
    shown = set()
    for record in records:
        for check, message in (record.failures or {}).items():
            if check not in KNOWN.get(name, {}) and (check, message[:60]) not in shown and len(shown) < 8:
                shown.add((check, message[:60]))
                print(f"       {record.number} {check}: {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
