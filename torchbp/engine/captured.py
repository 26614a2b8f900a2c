"""A step as a CUDA graph: the launches of its kernels, which are most of a small step on a GPU, become one."""

import torch

from torchbp.engine.compiled import number
from torchbp.engine.rules import distinct, placed

WARM_UP = 3  # steps before a capture, as torch's documentation of CUDA graphs asks for


class CapturedStep:
    """`run(parameters, rules, x, y)`, captured for each shape of the rows, and replayed.

    A graph reads the memory that it was captured with: x, y, and the numbers of the rules, which change with the
    learning rate, are copied there.
    """

    def __init__(self, run):
        self.run, self.graphs = run, {}

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y):
        found, places = distinct(rules)
        inputs = [x, y, *(value for rule in found for value in rule.numbers().values())]
        memory = [None if t is None else t.data_ptr() for pair in parameters for t in pair]
        memory += [None if rule.velocity is None else rule.velocity.data_ptr() for rule in found]
        key = (x.shape, x.dtype, y.shape, y.dtype, *memory, places, *(rule.fixed() for rule in found))
        if key not in self.graphs:
            own = [value.clone() if isinstance(value, torch.Tensor) else number(value, x) for value in inputs]
            self.graphs[key] = own, *self.capture(parameters, found, places, own)
        own, replay, loss = self.graphs[key]
        for tensor, value in zip(own, inputs, strict=True):
            tensor.copy_(value) if isinstance(value, torch.Tensor) else tensor.fill_(value)
        replay()
        return loss.clone()  # the next replay writes over it

    def capture(self, parameters, found, places, own):
        x, y, *numbers = own
        numbers = iter(numbers)
        with_own = [rule._replace(**{name: next(numbers) for name in rule.numbers()}) for rule in found]
        rules = placed(with_own, places)
        written = [p.detach() for pair in parameters for p in pair if p is not None]
        written += [rule.velocity for rule in found if rule.velocity is not None]
        return record(lambda: self.run(parameters, rules, x, y), written)


def record(function, written):
    """A function that does again what `function()` does on the GPU, and the tensor that it returns.

    The tensors `written`, which the warm-up changes, are put back.
    """
    before = [t.clone() for t in written]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries set themselves up, which a capture does not allow
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    for tensor, value in zip(written, before, strict=True):
        tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # runs nothing yet
        result = function()
    return graph.replay, result
