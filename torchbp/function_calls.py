"""torch's functions, as `F.linear` or `x.sigmoid()`, computed by our formulas where a model calls them.

The table is the rules': each says which functions of torch it stands for (`torch_functions`).
"""

import functools

import torch
from torch.overrides import TorchFunctionMode

from torchbp._instance_forward import set_forward
from torchbp.ops.registry import of_torch


class formulas(TorchFunctionMode):
    """A context in which each function and method of torch that torchbp has computes by our formulas.

    It reaches `F.linear`, `F.relu`, `F.cross_entropy`, `torch.sigmoid(x)`, `x.sigmoid()`, `x @ weight.T`, …, also in
    `torch.compile`. Left to torch are what is called without gradients, in-place functions and `out=`, functions of
    torch that torch's own functions call, and what a backward calls, such as the recomputation of a checkpointed
    closure. It holds for the thread that enters it. Outside of it nothing is slower.

    Example:
        >>> x, weight = torch.randn(32, 30), torch.randn(16, 30, requires_grad=True)
        >>> with torchbp.formulas():
        ...     loss = torch.nn.functional.linear(x, weight).sigmoid().mean()
        >>> loss.backward()  # linear and sigmoid by our formulas
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        ours = of_torch(function) if torch.is_grad_enabled() else None
        if kwargs is None:
            return function(*args) if ours is None else ours(*args)
        if ours is None or kwargs.get("out") is not None:
            return function(*args, **kwargs)
        return ours(*args, **kwargs)


def set_formulas(module):
    """Let the functions of torch that the module's forward calls compute by our formulas."""
    set_forward(module, _forward_with_formulas(type(module)))


@functools.cache
def _forward_with_formulas(cls):
    @functools.wraps(cls.forward)  # libraries read its signature
    def forward(module, *args, **kwargs):
        if not torch.is_grad_enabled() or _are_on():
            return cls.forward(module, *args, **kwargs)
        with formulas():
            return cls.forward(module, *args, **kwargs)

    forward.set_again = set_formulas
    return forward


def _are_on():
    for place in range(torch._C._len_torch_function_stack()):
        if isinstance(torch._C._get_function_stack_at(place), formulas):
            return True
    return False
