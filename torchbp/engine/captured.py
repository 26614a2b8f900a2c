"""A step as a CUDA graph: the launches of its kernels, which are most of a small step on a GPU, become one."""

import functools

import torch

from torchbp.engine.compiled import kept, number
from torchbp.engine.rules import distinct, placed

WARM_UP = 3  # steps before a capture, as torch's documentation of CUDA graphs asks for


class CapturedStep:
    """`run(parameters, rules, x, y)`, captured for each shape of the rows, and replayed.

    A graph reads the memory that it was captured with: x, y, and the numbers of the rules, which change with the
    learning rate, are copied there. The graphs share what they need between their own beginning and end.
    """

    def __init__(self, run, layers, loss):
        self.run, self.layers, self.loss, self.graphs, self.pool = run, layers, loss, {}, None

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y):
        found, places = distinct(rules)
        inputs = [x, y, *(value for rule in found for value in rule.numbers().values())]
        read = [t for pair in parameters for t in pair] + [rule.velocity for rule in found]
        memory = [None if t is None else t.data_ptr() for t in (*read, *self.loss._buffers.values())]
        rows = [(t.shape, t.dtype, t.device) for t in (x, y)]
        key = (*rows, *memory, places, *(rule.fixed() for rule in found))
        own, _, replay, loss = kept(self.graphs, key, lambda: self.captured(parameters, found, places, inputs))
        for tensor, value in zip(own, inputs, strict=True):
            tensor.copy_(value) if isinstance(value, torch.Tensor) else tensor.fill_(value)
        replay()
        return loss.clone()  # the next replay writes over it

    def captured(self, parameters, found, places, inputs):
        """The memory that the graph reads, its inputs and the vector of ones; what replays it; and the loss."""
        x = inputs[0]
        with torch.inference_mode(False):  # so that they can be written to in any mode
            own = [v.detach().clone() if isinstance(v, torch.Tensor) else number(v, x) for v in inputs]
        replay, loss = self.capture(parameters, found, places, own)
        return own, self.layers.last_ones, replay, loss

    def capture(self, parameters, found, places, own):
        x, y, *numbers = own
        numbers = iter(numbers)
        with_own = [rule._replace(**{name: next(numbers) for name in rule.numbers()}) for rule in found]
        rules = placed(with_own, places)
        written = [p.detach() for pair in parameters for p in pair if p is not None]
        written += [rule.velocity for rule in found if rule.velocity is not None]
        if self.pool is None and x.is_cuda:
            self.pool = torch.cuda.graph_pool_handle()
        return record(lambda: self.run(parameters, rules, x, y), written, self.pool)


def record(function, written, pool):
    """A function that does again what `function()` does on the GPU, and the tensor that it returns.

    The tensors `written`, which the warm-up changes, are put back. The function's own tensors lie in the memory `pool`.
    """
    device = written[0].device
    with torch.cuda.device(device):
        before, stream = [t.clone() for t in written], stream_of(device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up, which a capture does not allow
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream):  # runs nothing yet
            result = function()
    return graph.replay, result


@functools.cache
def stream_of(device):
    """The stream for all captures: cuBLAS keeps a workspace, of 32 MiB on some GPUs, for each stream it has run on."""
    return torch.cuda.Stream(device)
