"""torch's functions, as `F.linear` or `x.sigmoid()`, computed by our formulas where a model calls them.

The table is the rules': each says which functions of torch it stands for (`torch_functions`).
"""

import functools
import types

import torch
import torch.nn.functional as F
from torch.compiler import is_dynamo_compiling
from torch.overrides import TorchFunctionMode

from torchbp._instance_forward import set_forward
from torchbp.ops._dispatch import overrides
from torchbp.ops.registry import of_torch


class formulas(TorchFunctionMode):
    """A context in which each function and method of torch that torchbp has computes by our formulas.

    It reaches `F.linear`, `F.relu`, `F.cross_entropy`, `torch.sigmoid(x)`, `x.sigmoid()`, `x @ weight.T`, …, and those
    that a function of `torch.nn.functional` calls, such as `F.gumbel_softmax`. In `torch.compile` it reaches all but
    these last. Left to torch are what is called without gradients, in-place functions and `out=`, `torch.einsum`,
    `torch.kl_div` and `torch.binary_cross_entropy_with_logits` (`F.kl_div` is ours), and what a backward calls, such as
    the recomputation of a checkpointed closure. It holds for the thread that enters it. Elsewhere nothing is slower.

    Example:
        >>> x, weight = torch.randn(32, 30), torch.randn(16, 30, requires_grad=True)
        >>> with torchbp.formulas():
        ...     loss = torch.nn.functional.linear(x, weight).sigmoid().mean()
        >>> loss.backward()  # linear and sigmoid by our formulas
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        ours, composite = of_torch(function), _COMPOSITE.get(function)
        if (ours is None and composite is None) or not torch.is_grad_enabled() or self._leaves(kwargs):
            return function(*args, **kwargs)
        if ours is not None:
            return ours(*args, **{name: value for name, value in kwargs.items() if name != "out"})
        # torch.compile cannot trace `Tensor.unflatten`, which they call, in any mode
        if is_dynamo_compiling() or any(map(overrides, types)):
            return function(*args, **kwargs)
        with self:
            return composite(*args, **kwargs)

    def __enter__(self):
        self.checkpoint = _checkpoint()
        return super().__enter__()

    def _leaves(self, kwargs):
        """Whether torch's own is called: it writes into `out`, or it is in a checkpoint that was begun in this context.
        The recomputation of that is outside of the context, and must save the same."""
        if kwargs.get("out") is not None or kwargs.get("out_dtype") is not None:
            return True
        return not is_dynamo_compiling() and _checkpoint() is not self.checkpoint


def _checkpoint():
    """What saves tensors for the innermost non-reentrant checkpoint, or recomputes them; or None."""
    hooks = None if is_dynamo_compiling() else torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks[0] if hooks is not None and hooks[0].__module__ == "torch.utils.checkpoint" else None


def _composite():
    """{function of `torch.nn.functional`: the same, whose own calls a mode sees}, of those that are written in Python.

    Each of these asks `has_torch_function` before anything else, and hands itself to the mode; the twin does not ask.
    """
    around = dict(vars(F))
    around |= {name: _no for name in around if name.startswith("has_torch_function")}
    twins = {}
    for function in vars(F).values():
        if isinstance(function, types.FunctionType) and function.__globals__ is vars(F) and not function.__closure__:
            twin = types.FunctionType(function.__code__, around, function.__name__, function.__defaults__)
            twin.__kwdefaults__ = function.__kwdefaults__
            twins[function] = twin
    return twins


def _no(*_):
    return False


_COMPOSITE = _composite()


def set_formulas(module):
    """Let the functions of torch that the module's forward calls compute by our formulas."""
    set_forward(module, _forward_with_formulas(type(module)))


@functools.cache
def _forward_with_formulas(cls):
    @functools.wraps(cls.forward)  # libraries read its signature
    def forward(module, /, *args, **kwargs):
        if not torch.is_grad_enabled() or _are_on():
            return cls.forward(module, *args, **kwargs)
        with formulas():
            return cls.forward(module, *args, **kwargs)

    forward.set_again = set_formulas
    return forward


def _are_on():
    """Whether this context is on, and no checkpoint was begun in it."""
    for place in range(torch._C._len_torch_function_stack()):
        mode = torch._C._get_function_stack_at(place)
        if isinstance(mode, formulas) and mode.checkpoint is _checkpoint():
            return True
    return False
