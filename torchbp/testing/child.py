"""The audit in a process of its own: a crash or an endless loop of the audited code is a finding, not ours.

The child sends each result when it has it. If it dies, or is silent for too long, the check that it was at has failed,
and another child goes on with the rest.
"""

import contextlib
import importlib
import inspect
import multiprocessing
import os
import signal
import sys
from dataclasses import asdict, dataclass

from torchbp.testing.report import FAIL, Result

START = 120.0  # seconds for a child to load torch and the audited module


@dataclass(frozen=True)
class Target:
    """What is audited, in words that a child can look up."""

    name: str  # pkg.mod:Name
    inputs: str | None = None
    shapes: tuple = ()
    seed: int = 0
    require: tuple = ()


class Refusal(Exception):
    """A line on why nothing can run."""


def audited(target, names, timeout):
    """{"name", "notes", "results"}, or {"error"}."""
    context = multiprocessing.get_context("spawn")
    results, about = [], None
    while about is None or names:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(target, tuple(names), theirs), daemon=True)
        child.start()
        theirs.close()
        first = about is None
        error, about = hello(ours, child, about)
        if error is None:
            done = listen(ours, child, names, timeout)
            results += done
            names = names[len(done) :]
        child.kill()
        child.join()
        if error is not None:
            if first:
                return {"error": error}
            results += [asdict(Result(name, FAIL, error)) for name in names]
            names = []
    return {**about, "results": results}


def hello(pipe, child, about):
    """(an error, None), or (None, what the child says of its subject)."""
    if not pipe.poll(START):
        return f"loading it takes more than {START:.0f} s", about
    try:
        message = pipe.recv()
    except EOFError:
        child.join()
        return f"loading it, the process {ended(child.exitcode)}", about
    return (message["error"], about) if "error" in message else (None, message)


def listen(pipe, child, names, timeout):
    """The results, up to the first check at which the child dies or is silent."""
    done = []
    for name in names:
        if not pipe.poll(timeout):
            return [*done, asdict(Result(name, FAIL, f"does not end: no result after {timeout:g} s"))]
        try:
            done.append(pipe.recv())
        except EOFError:
            child.join()
            return [*done, asdict(Result(name, FAIL, f"the process {ended(child.exitcode)}"))]
    return done


def ended(code):
    if code is not None and code < 0:
        return f"crashes with {signal.Signals(-code).name}"
    return f"exits with status {code}"


def work(target, names, pipe):
    """In the child: load, audit, send."""
    from torchbp.testing.arguments import CannotRun, Options
    from torchbp.testing.auditor import quiet, run
    from torchbp.testing.subject import Subject

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), quiet():
        try:
            function, inputs = loaded(target)
            subject = Subject(function, inputs, Options(seed=target.seed))
        except (Refusal, CannotRun) as error:
            pipe.send({"error": str(error)})
            return
        pipe.send({"name": subject.name, "notes": subject.notes})
        for name in names:
            pipe.send(asdict(run(name, subject, target.require)))


def loaded(target):
    """The function and its inputs."""
    import torch

    from torchbp.testing.names import parameters_of

    sys.path.insert(0, os.getcwd())
    torch.manual_seed(target.seed)
    function = looked_up(target.name)
    if inspect.isclass(function) and issubclass(function, torch.nn.Module):
        try:
            function = function()
        except Exception as error:
            raise Refusal(f"{target.name} needs arguments ({error}): name a function that makes the module") from None
    elif inspect.isfunction(function) and not parameters_of(function) and target.inputs is None and not target.shapes:
        function = function()  # that makes it
    if target.inputs is not None:
        inputs = looked_up(target.inputs)
        return function, inputs() if callable(inputs) else inputs
    if target.shapes:
        return function, tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in target.shapes)
    needed = [p.name for p in parameters_of(function) if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    shapes = " ".join(["3,4", "2,4", "2", "3", "3"][: max(len(needed), 1)])
    raise Refusal(
        f"{target.name} needs inputs for ({', '.join(needed) or 'input'}): --inputs pkg.mod:make_inputs, "
        f"or such as --shape {shapes}"
    )


def looked_up(path):
    """The object that pkg.mod:Name names."""
    module, _, name = path.partition(":")
    if not name:
        raise Refusal(f"{path!r} must be of the form pkg.mod:Name")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Refusal(f"cannot import {module}: {error}") from None
    except Exception as error:
        raise Refusal(f"importing {module} raises {type(error).__name__}: {error}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            import difflib

            near = difflib.get_close_matches(part, dir(found), n=1)
            raise Refusal(f"{module} has no {name}" + (f"; did you mean {near[0]}?" if near else ""))
        found = getattr(found, part)
    return found
