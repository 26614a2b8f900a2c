"""The audit in a process of its own: a crash or an endless loop of the audited code is a finding, not ours.

The child says when it has loaded the code, when it has called it once, and each result when it has it. If it dies, or
is silent for too long, what it was at has failed, and another child goes on with the rest.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shlex
import signal
import threading
from dataclasses import dataclass

from torchbp.testing.audit import quiet, run
from torchbp.testing.cli.target import Lacking, Refusal, lacking, loaded, shapes_that_run
from torchbp.testing.forked_process import ended
from torchbp.testing.options import Options
from torchbp.testing.report import FAIL, CannotRun, Report, Result
from torchbp.testing.subject.naming import name_of
from torchbp.testing.subject.prepare import subject_of

START = 120.0  # seconds for a child to load torch and the audited module
TRIALS = 10.0  # seconds at most for an example


@dataclass(frozen=True)
class Target:
    """What is audited, in words that a child can look up."""

    name: str  # pkg.mod:Name
    inputs: str | None = None
    shapes: tuple = ()
    seed: int = 0
    require: tuple = ()

    def line(self, check=None):
        """The command that audits it, or runs one check of it."""
        words = ["torchbp", "check", self.name]
        words += ["--inputs", self.inputs] if self.inputs is not None else []
        words += ["--shape", *(",".join(map(str, shape)) for shape in self.shapes)] if self.shapes else []
        words += ["--seed", str(self.seed)]
        words += ["--checks", check] if check is not None else []
        words += ["--require", check] if check in self.require else []
        return shlex.join(words)


class Fault(Exception):
    """The child died, or is silent."""


def audited(target, names, timeout):
    """The report; a Refusal, where nothing can run."""
    name, notes, results = target.name, (), []
    while names:
        with process(target, tuple(names)) as (child, pipe):
            try:
                name = load(child, pipe, timeout)
                notes = hear(child, pipe, timeout)
            except Fault as fault:
                results.append(failure("forward", fault, target.line()))
                break
            except Refusal as error:
                if not results:
                    raise
                results += [Result(name, FAIL, str(error)) for name in names]
                break
            done = listen(child, pipe, target, names, timeout)
        results += done
        names = names[len(done) :]
    return Report(name, results, tuple(notes), target.seed)


@contextlib.contextmanager
def process(target, names):
    """A child at work, and the end of its pipe. Not a daemon: these may have no processes, such as loaders of data."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=work, args=(target, names, theirs))
    child.start()
    theirs.close()
    try:
        yield child, ours
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.join()


def hear(child, pipe, seconds):
    """What the child says next; a Fault where that is nothing, a Refusal where it refuses."""
    if not pipe.poll(seconds):
        raise Fault(f"does not end: no result after {seconds:g} s")
    try:
        said = pipe.recv()
    except EOFError:
        child.join()
        raise Fault(f"the process {ended(child.exitcode)}") from None
    if isinstance(said, Refusal):
        raise said
    return said


def load(child, pipe, timeout):
    """The name of what the child has loaded."""
    try:
        return hear(child, pipe, START)
    except Fault as fault:
        raise Refusal(f"loading it, {fault}") from None
    except Lacking as first:
        with contextlib.suppress(Fault):
            hear(child, pipe, min(timeout, TRIALS))  # raises it again, with an example that runs
        raise first from None


def listen(child, pipe, target, names, timeout):
    """The results, up to the first check at which the child dies or is silent."""
    done = []
    for name in names:
        try:
            done.append(hear(child, pipe, timeout))
        except Fault as fault:
            return [*done, failure(name, fault, target.line(name))]
    return done


def failure(name, fault, line):
    return Result(name, FAIL, str(fault), (f"reproduce: {line}",))


def work(target, names, pipe):
    """In the child: load, audit, send. What it prints, also from C, goes nowhere: stdout is the report's."""
    os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        audit(target, names, pipe)
    except Refusal as error:
        pipe.send(error)
    except KeyboardInterrupt:
        os._exit(130)


def end_with_parent():
    """However the parent ends: nobody else would end an endless loop, and the processes that it has."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os.killpg(0, signal.SIGKILL)


def audit(target, names, pipe):
    with quiet():
        function, inputs = loaded(target)
        if inputs is None:
            pipe.send(lacking(target.name, function))  # in case that none of the shapes ends
            raise lacking(target.name, function, shapes_that_run(function))
        pipe.send(name_of(function))
        try:
            subject = subject_of(function, inputs, Options(seed=target.seed))
        except CannotRun as error:
            raise Refusal(str(error)) from None
        pipe.send(subject.notes)
        for name in names:
            pipe.send(run(name, subject, target.require, target.line(name)))
