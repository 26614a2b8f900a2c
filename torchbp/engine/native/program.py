"""A compiled program, and how it is called: on the memory of tensors, its members divided among threads."""

import ctypes
import itertools
import threading
import time

import torch
from torch.autograd.graph import increment_version

from torchbp.engine.native.build import OF_LANES, OF_MATRICES, load, vector_bytes
from torchbp.engine.native.source import Source
from torchbp.engine.native.trace import tensors_of, traced_step, with_tensors_at

PRODUCTS_IN_LANES = 1e5  # multiplications of a member's step up to which members go side by side
WORTH_A_THREAD = 5e-4  # seconds
CALL = 3e-5  # seconds that a call takes, its steps apart
long, pointer = ctypes.c_long, ctypes.c_void_p


class Program:
    """K steps of gradient descent in C.

    Args:
        network: a `TracedNetwork`. loss: as in `torchbp.SGD`.
        parameters, rules, indices: of the step: parameters of each layer, the different rules with tensors for numbers,
            and which parameter has which rule.
        numbers: as in `traced_step`.
        rows: a `StepRows`. The program takes all that have its key.

    Raises:
        NotKnown: an operation that has no C here.
        CannotBuild: no compiler, or no folder for what it compiles.
    """

    def __init__(self, network, loss, parameters, rules, indices, numbers, rows):
        self.members = network.members
        if self.members:
            of_first = map(of_first_member, tensors_of(parameters, rules))
            parameters, rules = with_tensors_at(of_first, parameters, rules)
        buffers = [of_first_member(t) if self.members else t for t in network.buffers()]
        graph = traced_step(network, loss, parameters, rules, indices, buffers, numbers, *rows.example())
        self.lanes = 1
        if self.members and self.members >= 4 and multiplications(graph) <= PRODUCTS_IN_LANES:
            self.lanes = 64 // network.first_parameter.dtype.itemsize
        ordered = rows.places is not None
        self.source = Source(graph, bool(self.members), rows.shared, ordered, self.lanes, vector_bytes())
        self.limits = self.source.limits
        self.library = load(self.source.text, OF_LANES if self.lanes > 1 else OF_MATRICES)
        self.function = self.library.run
        self.function.restype = None
        self.seconds, self.seconds_of_engine = 0.0, 0.0  # of a step, once they are measured

    def is_faster(self, steps, call=CALL):
        """Whether a call for so many steps takes less time than the engine's own steps; `call` is without its steps."""
        if torch.are_deterministic_algorithms_enabled():  # a measurement is not deterministic
            return True
        return call + steps * self.seconds < steps * self.seconds_of_engine

    def measure(self, tensors, rows, seconds_of_engine):
        """Find out how long a step takes, by steps that change the tensors."""
        times = {}
        for of_call in (rows, rows.repeated(1)) * 5:
            start = time.perf_counter()
            self(tensors, of_call)
            seconds = time.perf_counter() - start
            times[of_call.steps] = min(seconds, times.get(of_call.steps, seconds))
        more = times[rows.steps] - times[1] if rows.steps > 1 else times[1] - CALL
        self.seconds, self.seconds_of_engine = max(1e-8, more / max(1, rows.steps - 1)), seconds_of_engine

    def __call__(self, tensors, rows):
        """The losses (steps) or (steps, members) of steps that change `tensors`, those of `tensors_of` and the buffers
        of the network, which `numbers` follow."""
        losses = torch.empty(rows.steps, self.members or 1, dtype=self.source.loss_dtype, device="cpu")
        pointers, arguments = self.arguments(tensors, rows)
        pointers[-1] = losses.data_ptr()
        self.run(self.parts(rows.steps), arguments)
        increment_version(self.changed_of(tensors))
        return losses if self.members else losses[:, 0]

    def changed_of(self, tensors):
        """Those of the tensors that a step changes."""
        return [tensor for tensor, buffer in zip(tensors, self.source.inputs, strict=True) if buffer.is_state]

    def arguments(self, tensors, rows):
        """The pointers to the tensors, the constants, x, y, and the losses, of which the last is not set yet; and the
        arguments of the function between the members and the workspace."""
        places, inputs = rows.places, [*tensors, *self.source.constants, rows.x, rows.y]
        pointers = (pointer * (len(inputs) + 1))(*[t.data_ptr() for t in inputs])
        between = [0 if buffer.uniform else buffer.size for buffer in self.source.inputs]
        return pointers, (
            long(self.members or 1),
            long(rows.steps),
            pointer(places.data_ptr() if places is not None else None),
            long(places.stride(0) if places is not None and places.dim() > 1 else 0),
            *((long * 2)(*strides) for strides in rows.strides()),
            pointers,
            (long * len(between))(*between),
        )

    def run(self, parts, arguments):
        """Run the parts, each in a thread; an interruption is raised once all of them have ended."""
        if len(parts) == 1:
            self._run(*parts[0], arguments)
            return
        threads, interruption = (
            [threading.Thread(target=self._run, args=(*part, arguments)) for part in parts[1:]],
            None,
        )
        try:
            for thread in threads:
                thread.start()
            self._run(*parts[0], arguments)
        finally:
            for thread in threads:
                while thread.is_alive():
                    try:
                        thread.join()
                    except KeyboardInterrupt as error:
                        interruption = error
        if interruption is not None:
            raise interruption

    def parts(self, steps):
        """The members of each thread, first and last: of as many threads as torch uses, where that is worth it."""
        count = self.members or 1
        blocks = -(-count // self.lanes)
        threads = max(1, min(torch.get_num_threads(), blocks, int(self.seconds * steps / WORTH_A_THREAD)))
        bounds = [min(count, blocks * part // threads * self.lanes) for part in range(threads + 1)]
        return list(itertools.pairwise(bounds))

    def _run(self, first, last, arguments):
        aligned = workspace = None
        if self.source.workspace:
            workspace = torch.empty(self.source.workspace + 64, dtype=torch.uint8, device="cpu")
            aligned = -(-workspace.data_ptr() // 64) * 64
        self.function(long(first), long(last), *arguments, pointer(aligned))


def of_first_member(tensor):
    """With a first dimension of 1; a number that all members share is left as it is."""
    return tensor[:1] if tensor.dim() else tensor


def multiplications(graph):
    """How many numbers are multiplied in the matrix products of a step."""
    count = 0
    for node in graph.graph.nodes:
        name = getattr(node.target, "_opname", "")
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            count += node.meta["val"].numel() * node.args[-1].meta["val"].shape[-2]
    return count
