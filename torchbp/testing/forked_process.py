"""Run checks in a forked process, so that a crash of the audited code does not end the caller's process."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys

import torch

from torchbp.testing.report import exit_words

CRASH = "likely cause: an operation that does not look at the sizes, strides, dtypes or numbers that it is given"
# Without a message for so many seconds, the child waits for something of its parent, such as a thread of a pool.
TIMEOUT = 20.0


def is_possible():
    """On Linux, without an accelerator: autograd's threads for an accelerator do not exist in a forked process."""
    return sys.platform == "linux" and not torch.accelerator.is_available()


def run(work, names):
    """Call work(name, report_progress) for each name, in one forked process.

    Returns:
        (results, None): if there are fewer results than names, the process was silent for too long and was ended.
        (results, (message, details)): the process crashed or exited at the next name.
    """
    for stream in (sys.stdout, sys.stderr):  # the child would write what is buffered a second time
        with contextlib.suppress(Exception):
            stream.flush()
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        _run_in_child(work, names, writer)
    writer.close()
    results, progress, timed_out = [], "", False
    try:
        with contextlib.suppress(EOFError):
            while len(results) < len(names) and not timed_out:
                timed_out = not reader.poll(TIMEOUT)
                if not timed_out:
                    is_result, message = reader.recv()
                    results, progress = ([*results, message], "") if is_result else (results, f"{message} ")
        if timed_out:
            os.kill(child, signal.SIGKILL)
    except BaseException:  # also Ctrl-C
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        reader.close()
        _, status = os.waitpid(child, 0)
    if timed_out or len(results) == len(names):
        return results, None
    code = os.waitstatus_to_exitcode(status)
    return results, (f"{progress}the process {exit_words(code)}", [CRASH] if code < 0 else [])


def _run_in_child(work, names, writer):
    """Send the results, and end the process."""
    try:
        _limit_child()
        for name in names:
            writer.send((True, work(name, lambda words: writer.send((False, words)))))
        sys.stdout.flush()
        os._exit(0)
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    finally:
        os._exit(1)


def _limit_child():
    """One thread, since the parent's do not exist here; no trace of a crash on the caller's terminal or disk."""
    torch.set_num_threads(1)
    faulthandler.disable()
    import resource  # only where there is a fork

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
