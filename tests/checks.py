"""`torchbp check` without a worker."""

import collections
import contextlib

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
