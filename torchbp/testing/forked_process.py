"""Work in a forked process: a crash of the audited code there is a finding, and not the end of the caller's tests."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys

import torch

CRASH = "likely cause: an operation that does not look at the sizes, strides, dtypes or numbers that it is given"


SILENCE = 20.0  # seconds: the child then waits for something of its parent, such as a thread of a pool, and is ended


def possible():
    """Whether there is a fork that may go on: not beside an accelerator, whose threads autograd does not have there."""
    return sys.platform == "linux" and not torch.accelerator.is_available()


def forked(work, names):
    """Results of work(name, tell), one for each name; and None, or of the process that has ended at the next one: how
    it ended, and the lines on why.

    The work tells what it is at. Of a child that says nothing for too long, there are the results so far.
    """
    for stream in (sys.stdout, sys.stderr):  # what waits there would be written twice
        with contextlib.suppress(Exception):
            stream.flush()
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        try:
            alone()
            for name in names:
                writer.send((True, work(name, lambda words: writer.send((False, words)))))
            sys.stdout.flush()
            os._exit(0)
        except SystemExit as error:
            os._exit(error.code if isinstance(error.code, int) else 1)
        finally:
            os._exit(1)
    writer.close()
    done, at, silent = [], "", False
    try:
        with contextlib.suppress(EOFError):
            while len(done) < len(names) and not silent:
                silent = not reader.poll(SILENCE)
                if not silent:
                    is_result, said = reader.recv()
                    done, at = ([*done, said], "") if is_result else (done, f"{said} ")
        if silent:
            os.kill(child, signal.SIGKILL)
    except BaseException:  # as Ctrl-C
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        reader.close()
        _, status = os.waitpid(child, 0)
    if silent or len(done) == len(names):
        return done, None
    code = os.waitstatus_to_exitcode(status)
    return done, (f"{at}the process {ended(code)}", [CRASH] if code < 0 else [])


def alone():
    """One thread, since those of the parent are not here; no traces of a crash on the caller's terminal or disk."""
    torch.set_num_threads(1)
    faulthandler.disable()
    import resource  # where there is a fork

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def ended(code):
    if code is not None and code < 0:
        return f"crashes with {signal.Signals(-code).name}"
    return f"exits with status {code}"
