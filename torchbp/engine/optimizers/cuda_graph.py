"""A step as a CUDA graph: the launches of its kernels, which are most of a small step on a GPU, become one."""

import functools

import torch

from torchbp.engine.optimizers.update_rule import rules_at, unique_rules
from torchbp.engine.recently_used import cached
from torchbp.ops.registry import rule_of

WARM_UP = 3  # steps before a capture, as torch's documentation of CUDA graphs asks for


class CapturedStep:
    """`run(parameters, rules, x, y)`, captured for each shape of the rows, and replayed.

    A graph reads the memory that it was captured with: x, y, and the numbers of the rules, which change with the
    learning rate, are copied there. The graphs share what they need between their own beginning and end.
    """

    def __init__(self, run, network, loss):
        self.run, self.network, self.loss, self.graphs, self.pool = run, network, loss, {}, None

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y):
        unique, indices = unique_rules(rules)
        inputs = [x, y, *(value for rule in unique for value in rule.numbers().values())]
        read = [t for of_layer in parameters for t in of_layer] + [t for rule in unique for t in rule.state.values()]
        rule = rule_of(self.loss)
        options = [rule.name, self.loss.reduction, *rule.options_of(self.loss).values()]
        memory = [t.data_ptr() if isinstance(t, torch.Tensor) else t for t in (*read, *options)]
        rows = [(t.shape, t.dtype, t.device) for t in (x, y)]
        structure = [rule.structure_key() for rule in unique]
        key = (*rows, *memory, indices, *structure, self.network.constants())
        copies, _, last, replay, loss = cached(
            self.graphs, key, lambda: self._captured(parameters, unique, indices, inputs)
        )
        for i, value in enumerate(inputs):
            if isinstance(value, torch.Tensor):
                copies[i].copy_(value)
            elif last[i] != value:  # each write is a launch, and a learning rate seldom changes
                last[i] = value
                copies[i].fill_(value)
        replay()
        return loss.clone()  # the next replay writes over it

    def _captured(self, parameters, unique, indices, inputs):
        """The memory that the graph reads, copies of its inputs and the vector of ones; the values of the inputs now;
        the function that replays it; and the loss."""
        x, y, *_ = inputs
        with torch.inference_mode(False):  # so that they can be written to in any mode
            numbers = [t for rule in unique for t in rule.with_tensors(x).numbers().values()]
            copies = [t.detach().clone() for t in (x, y, *numbers)]
        replay, loss = self._capture(parameters, unique, indices, copies)
        return copies, self.network.last_ones, [None, None, *inputs[2:]], replay, loss

    def _capture(self, parameters, unique, indices, copies):
        x, y, *numbers = copies
        numbers = iter(numbers)
        of_copies = [
            rule.with_tensors(x)._replace(**{name: next(numbers) for name in rule.numbers()}) for rule in unique
        ]
        rules = rules_at(of_copies, indices)
        written = [p.detach() for of_layer in parameters for p in of_layer if p is not None]
        written += [t for rule in unique for t in rule.state.values()]
        written += self.network.buffers()
        if self.pool is None and x.is_cuda:
            self.pool = torch.cuda.graph_pool_handle()
        return record(lambda: self.run(parameters, rules, x, y), written, self.pool)


@functools.cache
def warm_up_stream(device):
    """One for all graphs: cuBLAS keeps a workspace for each stream that it has seen, 32 MiB of an H200."""
    return torch.cuda.Stream(device)


def record(function, written, pool):
    """A function that does again what `function()` does on the GPU, and the tensor that it returns.

    The tensors `written`, which the warm-up changes, are put back. The function's own tensors lie in the memory `pool`.
    """
    with torch.cuda.device(written[0].device):
        before = [t.clone() for t in written]
        stream = warm_up_stream(written[0].device)
        stream.wait_stream(torch.cuda.current_stream())
        # libraries set themselves up, which a capture does not allow
        with torch.random.fork_rng([stream.device]), torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, value in zip(written, before, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):  # runs nothing yet
            result = function()
    return graph.replay, result
