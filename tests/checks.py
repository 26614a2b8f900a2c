"""`torchbp check` without a worker, and without a clock."""

import collections
import contextlib
from multiprocessing.connection import Connection

from torchbp.testing.cli import worker
from torchbp.testing.cli.refusal import Refusal


class Pipe(collections.deque):
    """What the worker would have sent."""

    send, recv = collections.deque.append, collections.deque.popleft

    def poll(self, seconds):
        return True


@contextlib.contextmanager
def in_this_process(target, names):
    """For `worker.running_worker`."""
    pipe = Pipe()
    try:
        worker.send_audit(target, names, pipe)
    except Refusal as error:
        pipe.send(error)
    yield None, pipe


def poll_until(has_begun):
    """For `Connection.poll`: its time is over once an endless wait has begun, however slow the machine is."""
    poll = Connection.poll

    def wait(pipe, seconds):
        for _ in range(2000):
            if poll(pipe, 0.05):
                return True
            if has_begun():
                return poll(pipe, 0)
        raise TimeoutError("neither a message nor the endless wait")

    return wait
