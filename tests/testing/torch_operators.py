"""Audit torch's own operators and modules, by the samples that torch tests them with.

    python -m tests.testing.torch_operators [--seconds 20] [--seed 0] [--name conv] [--modules]

Each operator is audited in a process of its own, sample after sample in a random order, until its seconds are over. A
failure that `tests/testing/known_of_torch.py` does not name is printed with the number of its sample, and makes the
exit status 1.
"""

import argparse
import multiprocessing
import random
import sys
import time
import warnings

import torch
from torch.utils._pytree import tree_leaves

import torchbp.testing.audit
import torchbp.testing.checks
from torchbp.testing.report import CannotRun

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's test helpers import deprecated parts of torch
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

SKIPPED = ("compile",)


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

    if not any(t.numel() and t.requires_grad for t in tree_leaves(args) if isinstance(t, torch.Tensor)):
        return "empty"
    try:
        report = torchbp.check(target, tuple(args), checks="default", skip=SKIPPED, raise_exception=False, **options)
        return "empty" if "every output is empty" in report["values"].message else report
    except CannotRun as error:
        return f"refused: {error}"[:200]
    except Exception as error:
        return f"the auditor raises {type(error).__name__}: {error}"[:200]


def audit_samples(make, seconds, seed, pipe):
    """Send (number, seconds, [(check, status, message)] or words) of each sample, and at the end how many there are."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    samples = list(enumerate(make()))
    random.Random(seed).shuffle(samples)  # those beside each other differ little
    began = time.perf_counter()
    for number, (function, inputs) in samples:
        start = time.perf_counter()
        report = audit(function, inputs)
        rows = report if isinstance(report, str) else [(r.check, r.status, r.message) for r in report.results]
        pipe.send((number, time.perf_counter() - start, rows))
        if time.perf_counter() - began > seconds:
            break
    pipe.send(len(samples))


def audit_in_process(make, seconds, seed):
    """The rows that it sent, and how it ended: the number of samples, or words."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=audit_samples, args=(make, seconds, seed, writer))
    process.start()
    writer.close()
    rows, end = [], "takes too long"
    while reader.poll(seconds + 60):
        try:
            row = reader.recv()
        except EOFError:
            process.join()
            end = f"the process ends with {process.exitcode}"
            break
        if isinstance(row, int):
            end = row
            break
        rows.append(row)
    process.kill()
    process.join()
    return rows, end


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="for each operator (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the samples (default: %(default)s)")
    parser.add_argument("--name", default="", help="part of the name of an operator")
    parser.add_argument("--modules", action="store_true", help="modules instead of operators")
    options = parser.parse_args(argv)
    from tests.testing.known_of_torch import KNOWN

    for check in torchbp.testing.checks.CHECKS:
        torchbp.testing.checks.check_function(check)
    table = (modules if options.modules else operators)(options.name)
    unknown, counts = 0, {}
    for name, make in table.items():
        rows, end = audit_in_process(make, options.seconds, options.seed)
        problems = [] if isinstance(end, int) else [("after", "process", end)]
        for number, _, found in rows:
            if found == "empty":
                continue
            if isinstance(found, str):
                problems.append((number, "refused", found))
            else:
                problems += [(number, check, message) for check, status, message in found if status == "FAIL"]
        names = {check for _, check, _ in problems}
        known = KNOWN.get(name, {})
        word = "new" if names - set(known) else "known" if names else "sound"
        counts[word] = counts.get(word, 0) + 1
        spent = sum(seconds for _, seconds, _ in rows)
        samples = f"{len(rows)} of {end} samples" if isinstance(end, int) else f"{len(rows)} samples"
        print(f"{word:<6} {name} {samples} {spent:.1f} s", flush=True)
        shown = set()
        for number, check, message in problems:
            if check not in known and (check, message[:60]) not in shown and len(shown) < 8:
                shown.add((check, message[:60]))
                print(f"       {number} {check}: {message}", flush=True)
        unknown += word == "new"
    print(counts)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
