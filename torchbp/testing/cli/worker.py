"""Run the audit in another process, the worker: a crash or an endless loop of the audited code ends only the worker.

The worker sends the name of the code when it has loaded it, the notes when it has called it once, and each result;
before each layer of a large model None, so that a layer has the time of a check. If it crashes or times out, the
running check fails and a new worker runs the remaining checks. The command's own process needs no torch, and does not
import it.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shlex
import signal
import threading
from dataclasses import dataclass

from torchbp.testing.cli.refusal import InputsNeeded, Refusal
from torchbp.testing.diagnosis.one_cause import referred
from torchbp.testing.options import Options
from torchbp.testing.report import FAIL, Report, Result, exit_words

START_METHOD = "spawn"
START_SECONDS = 120.0  # at most, for a worker to load torch and the audited module
EXAMPLE_SECONDS = 10.0  # at most, for the search for shapes that the code takes


@dataclass(frozen=True)
class Target:
    """What is audited, in words that a worker can look up."""

    name: str  # pkg.mod:Name, or the folder of a run
    inputs: str | None = None
    shapes: tuple = ()
    seed: int = 0
    require: tuple = ()
    member: int | None = None  # of a run
    asked: tuple = ()  # names of checks that the command line gives
    skip: tuple = ()

    def command_line(self, check=None):
        """The command that audits it, or runs one check of it."""
        words = ["torchbp", "check", self.name]
        words += ["--member", str(self.member)] if self.member is not None else []
        words += ["--inputs", self.inputs] if self.inputs is not None else []
        words += ["--shape", *(",".join(map(str, shape)) for shape in self.shapes)] if self.shapes else []
        words += ["--seed", str(self.seed)]
        words += ["--checks", check] if check is not None else []
        words += ["--require", check] if check in self.require else []
        return shlex.join(words)


def is_run(name):
    """Whether a target names files, such as the folder of a run, and no code."""
    return os.path.exists(name)


class WorkerFailure(Exception):
    """The worker crashed, exited, or timed out."""


def audit_in_worker(target, names, timeout):
    """The report.

    Raises:
        Refusal: nothing can run.
    """
    name, notes, results = target.name, (), []
    while names:
        with running_worker(target, tuple(names)) as (worker, pipe):
            try:
                name = _receive_name(worker, pipe, timeout)
                said, names = _receive(worker, pipe, timeout)
                notes = notes or said  # the first worker, which has all checks, says what it leaves out
            except WorkerFailure as failure:
                results.append(_failed("forward", failure, target.command_line()))
                break
            except Refusal as error:
                if not results:
                    raise
                results += [Result(name, FAIL, str(error)) for name in names]
                break
            done = _receive_results(worker, pipe, target, names, timeout)
        results += done
        names = names[len(done) :]
    return Report(name, referred(results), tuple(notes), target.seed)


@contextlib.contextmanager
def running_worker(target, names):
    """Start a worker, and yield (process, pipe). No daemon: a daemon cannot start processes, as DataLoaders do."""
    context = multiprocessing.get_context(START_METHOD)
    reader, writer = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(target, names, writer))
    worker.start()
    writer.close()
    try:
        yield worker, reader
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _kill_group(worker.pid)
        worker.kill()
        worker.join()


def _receive(worker, pipe, seconds):
    """The next message. Raises WorkerFailure if none arrives, and the Refusal that arrives."""
    message = None
    while message is None:
        if not pipe.poll(seconds):
            raise WorkerFailure(f"does not end: no result after {seconds:g} s")
        try:
            message = pipe.recv()
        except EOFError:
            worker.join()
            raise WorkerFailure(f"the process {exit_words(worker.exitcode)}") from None
    if isinstance(message, Refusal):
        raise message
    return message


def _receive_name(worker, pipe, timeout):
    """The name of the code that the worker has loaded."""
    try:
        return _receive(worker, pipe, START_SECONDS)
    except WorkerFailure as failure:
        raise Refusal(f"loading it, {failure}") from None
    except InputsNeeded as without_example:
        with contextlib.suppress(WorkerFailure):
            _receive(worker, pipe, min(timeout, EXAMPLE_SECONDS))  # raises it again, with an example that runs
        raise without_example from None


def _receive_results(worker, pipe, target, names, timeout):
    """The results, up to the first check at which the worker crashes or times out."""
    done = []
    for name in names:
        try:
            done.append(_receive(worker, pipe, timeout))
        except WorkerFailure as failure:
            return [*done, _failed(name, failure, target.command_line(name))]
    return done


def _failed(name, failure, command_line):
    return Result(name, FAIL, str(failure), (f"reproduce: {command_line}",))


def _work(target, names, pipe):
    """In the worker. What the code prints, also from C, is discarded: the report is all that goes to stdout."""
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        send_audit(target, names, pipe)
    except Refusal as error:
        pipe.send(error)
    except KeyboardInterrupt:
        os._exit(130)


def _end_with_parent():
    """When the command ends, however it does, end the worker and the processes that it started."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    _kill_group(0)
    os._exit(1)


def _kill_group(process):
    """The process and those that it started; on Windows none, since a process has no group there."""
    if hasattr(os, "killpg"):
        os.killpg(process, signal.SIGKILL)


def send_audit(target, names, pipe):
    """Load, audit, send."""
    from torchbp.testing.audit import quiet, run_check
    from torchbp.testing.checks.model.choice import checks_for
    from torchbp.testing.cli.target import inputs_needed, load, shapes_that_run
    from torchbp.testing.report import CannotRun
    from torchbp.testing.subject.naming import name_of
    from torchbp.testing.subject.prepare import subject_of

    with quiet():
        function, inputs = load(target)
        if inputs is None:
            pipe.send(inputs_needed(target.name, function))  # in case that none of the shapes ends
            raise inputs_needed(target.name, function, shapes_that_run(function))
        pipe.send(name_of(function))
        names, layer_checks, left_out = checks_for(function, names, target.asked, target.skip)
        try:
            options = Options(seed=target.seed)
            subject = subject_of(function, inputs, options, layer_checks)
        except CannotRun as error:
            raise Refusal(str(error)) from None
        pipe.send(([*subject.notes, *left_out], names))
        for name in names:
            subject.report_progress = (lambda words: pipe.send(None)) if name == "layers" else lambda words: None
            pipe.send(run_check(name, subject, target.require, target.command_line(name)))
