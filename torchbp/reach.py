"""How much of a model's training step torchbp's formulas compute: what ran, as autograd's graph and torch's operations
show it, and not what was converted."""

import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from torchbp._unchanged import unchanged
from torchbp.printing import with_article


@dataclass
class Coverage:
    """What of one forward and backward was computed by our formulas; `print` shows it.

    ours: {name of a `torch.autograd.Function` of torchbp: how often it is in the graph}.
    torchs: {name of a node of torch: how often}. Views and casts are in neither.
    parameters: {name: its number of elements}, of those that the loss depends on and that require a gradient.
    by_torch: {name: the nodes of torch that gave it a gradient}, of those whose gradient is not ours alone.
    flops: of the matrix products, convolutions and attention of forward and backward, as torch counts them.
    flops_of_ours: of them, those within the forward or backward of one of our Functions.
    """

    ours: dict[str, int] = field(default_factory=dict)
    torchs: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    by_torch: dict[str, list[str]] = field(default_factory=dict)
    flops: int = 0
    flops_of_ours: int = 0

    @property
    def share_of_operations(self) -> float:
        """Of the nodes of the graph, from 0 to 1."""
        return _share(sum(self.ours.values()), sum(self.torchs.values()))

    @property
    def share_of_parameters(self) -> float:
        """Of the numbers in the parameters: those whose gradient comes from our formulas alone."""
        of_torch = sum(self.parameters[name] for name in self.by_torch)
        return _share(sum(self.parameters.values()) - of_torch, of_torch)

    @property
    def share_of_flops(self) -> float:
        """Of those that torch counts; nan where it counts none, as of an LSTM."""
        return _share(self.flops_of_ours, self.flops - self.flops_of_ours)

    def __str__(self) -> str:
        ours, torchs = sum(self.ours.values()), sum(self.torchs.values())
        numbers = sum(self.parameters.values())
        of_ours = numbers - sum(self.parameters[name] for name in self.by_torch)
        lines = ["by torchbp's formulas:"]
        lines += [f"  operations  {ours:,} of {ours + torchs:,} ({self.share_of_operations:.1%})"]
        lines += [f"  parameters  {of_ours:,} of {numbers:,} numbers ({self.share_of_parameters:.1%})"]
        share = f"({self.share_of_flops:.1%})" if self.flops else "(no operation that torch counts)"
        lines += [f"  FLOPs       {self.flops_of_ours:,} of {self.flops:,} {share}"]
        if self.torchs:
            counted = sorted(self.torchs.items(), key=lambda item: (-item[1], item[0]))
            lines += ["by torch: " + ", ".join(f"{name} {count}" for name, count in counted)]
        lines += [f"  gradient of {name}: {', '.join(nodes)}" for name, nodes in self.by_torch.items()]
        return "\n".join(lines)


def coverage(
    model: torch.nn.Module, *inputs: Any, loss: Callable[[Any], torch.Tensor] | None = None, **keywords: Any
) -> Coverage:
    """Run one forward and backward of a model, and count what of it torchbp's formulas computed.

    Args:
        model: any module, converted or not, in the mode that it is in. It is as before afterwards, its buffers and
            gradients too, and so is the random stream; but an `Embedding(max_norm=…)` has changed its weight.
        *inputs, **keywords: what it is called with.
        loss: of its output, the number that is differentiated; by default the sum of all numbers in the output.

    Returns:
        A `Coverage`. In-place operations are torch's, and so is what our functions leave to torch.

    Raises:
        ValueError: the loss is no single number, or depends on no parameter.

    A program of `torch.compile` is one node of torch: give the model that it was made of.

    Example:
        >>> net = torchbp.convert(torch.nn.Sequential(torch.nn.Linear(30, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)))
        >>> print(torchbp.coverage(net, torch.randn(32, 30), loss=lambda z: z.square().mean()))
        by torchbp's formulas:
          operations  3 of 5 (60.0%)
          parameters  513 of 513 numbers (100.0%)
          FLOPs       64,512 of 64,512 (100.0%)
        by torch: MeanBackward0 1, PowBackward0 1
    """
    found = Coverage()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    counter = _FlopCounter(_codes())
    with unchanged(lambda: list(model.buffers()), {p.device for p in model.parameters()}), torch.enable_grad(), counter:
        output = model(*inputs, **keywords)
        value = _sum(output) if loss is None else loss(output)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ValueError(f"coverage: the loss is {_described(value)}; give a loss that is one number")
        if value.grad_fn is None:
            raise ValueError("coverage: the loss depends on no parameter that requires a gradient")
        readers = _readers(value.grad_fn)  # before the backward, which frees the graph
        _count_nodes(readers, found)
        _count_parameters(readers, parameters, found)
        if not found.parameters:
            raise ValueError("coverage: the loss depends on no parameter that requires a gradient")
        torch.autograd.grad(value, list(parameters.values()), torch.ones_like(value), allow_unused=True)
    found.flops, found.flops_of_ours = counter.all, counter.ours
    return found


def _share(part, rest):
    return part / (part + rest) if part + rest else math.nan


def _sum(output):
    tensors = [t for t in tree_leaves(output) if isinstance(t, torch.Tensor) and t.requires_grad]
    sums = [t.sum() if t.dim() else t for t in tensors]
    return sum(sums[1:], sums[0]) if sums else torch.zeros(())


def _described(value):
    if isinstance(value, torch.Tensor):
        return f"of the shape {tuple(value.shape)}"
    return with_article(type(value).__name__)


# Nodes without arithmetic in either direction, by which a parameter may come into an operation.
_VIEWS = {
    *("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Alias", "Detach"),
    *("Select", "Slice", "Split", "SplitWithSizes", "Unbind", "ToCopy", "Clone", "UnsafeSplit", "Chunk", "Narrow"),
}


def _is_view(node):
    return node.name().rstrip("0123456789").removesuffix("Backward") in _VIEWS


def _is_ours(node):
    return getattr(type(node), "_forward_cls", type).__module__.startswith("torchbp.")


def _name(node):
    return type(node)._forward_cls.__name__ if _is_ours(node) else node.name()


def _readers(root):
    """{node: the nodes that read its output} of a graph."""
    readers, todo = {root: []}, [root]
    while todo:
        node = todo.pop()
        for below, _ in node.next_functions:
            if below is not None:
                if below not in readers:
                    readers[below] = []
                    todo.append(below)
                readers[below].append(node)
    return readers


def _count_nodes(readers, found):
    computing = [node for node in readers if not hasattr(node, "variable") and not _is_view(node)]
    found.ours = dict(Counter(_name(node) for node in computing if _is_ours(node)))
    found.torchs = dict(Counter(_name(node) for node in computing if not _is_ours(node)))


def _count_parameters(readers, parameters, found):
    nodes = {node.variable: node for node in readers if hasattr(node, "variable")}
    for name, parameter in parameters.items():
        if parameter not in nodes:
            continue  # the loss does not depend on it
        found.parameters[name] = parameter.numel()
        of_torch = {_name(reader) for reader in _past_views(nodes[parameter], readers) if not _is_ours(reader)}
        if of_torch:
            found.by_torch[name] = sorted(of_torch)


def _past_views(node, readers):
    """The nodes that compute with the output of this one."""
    for reader in readers[node]:
        if _is_view(reader) and readers[reader]:
            yield from _past_views(reader, readers)
        else:
            yield reader


def _codes():
    """The code of the forward and backward of each of our Functions."""
    codes, todo = set(), [torch.autograd.Function]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if cls.__module__.startswith("torchbp."):
            codes |= {getattr(cls, name).__code__ for name in ("forward", "backward")}
    return codes


class _FlopCounter(TorchDispatchMode):
    """Counts FLOPs: all, and those of operations that are called within one of these codes."""

    def __init__(self, codes):
        super().__init__()
        self.codes, self.all, self.ours = codes, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        formula = _FLOPS.get(function._overloadpacket)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            self.all += flops
            self.ours += flops * self._is_within()
        return result

    def _is_within(self):
        frame = sys._getframe()
        while frame is not None and frame.f_code not in self.codes:
            frame = frame.f_back
        return frame is not None


def _of_attention(q, k, v, *_, **__):
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _of_attention_backward(dout, q, k, v, *_, **__):
    return sdpa_backward_flop_count(dout.shape, q.shape, k.shape, v.shape)


# torch's own table lacks the operations of attention on CPUs
_FLOPS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _of_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _of_attention_backward,
}
