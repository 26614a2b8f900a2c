"""What every operation shares: a short `apply`, and what torch does around its own operations. No formula.

An operation is a `Function` with `forward`, `setup_context`, `backward` and `jvp`, and a public function that takes
torch's own where `plain(…)` says so.
"""

import torch
from torch.overrides import has_torch_function_variadic

_transforms_active = torch._C._are_functorch_transforms_active
_tracing_state = torch._C._get_tracing_state


class Function(torch.autograd.Function):
    """A `torch.autograd.Function` that works under torch.func.vmap: it saves inputs and outputs only."""

    generate_vmap_rule = True


def short_apply(function):
    """`function.apply` at half its cost, which also compiles.

    The documented `apply` binds its arguments through `inspect` whenever `setup_context` is defined: about 18 µs a
    call, twice the work of a small layer. The method underneath, without the binding, is the same outside
    torch.func's transforms. And torch.compile refuses a Function with a `jvp`, so it is given a twin without.
    """
    compilable = type(function)(function.__name__, (function,), {"jvp": torch.autograd.Function.jvp})
    short = super(torch.autograd.Function, function).apply

    def apply(*args):
        if torch.compiler.is_compiling():
            return compilable.apply(*args)
        if _transforms_active():
            return function.apply(*args)
        return short(*args)

    return apply


def plain(*tensors):
    """Whether torch's own function must do the work.

    So it is where no graph is recorded (the formula of the derivative has nothing to say), inside torch.jit.trace
    (a trace records operations, not Functions), and for tensor subclasses that bring their own kernels.
    """
    return not torch.is_grad_enabled() or has_torch_function_variadic(*tensors) or _tracing_state() is not None


def autocast(*tensors, dtype=None):
    """The tensors as autocast would hand them to this operation; `dtype` is that of its list, or autocast's own.

    The casts stand outside the Function, where autograd sees them, so that each gradient has its tensor's dtype.
    """
    if not torch._C._is_any_autocast_enabled():
        return tensors
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = dtype or torch.get_autocast_dtype(device)
    return tuple(
        t.to(dtype) if t is not None and t.is_floating_point() and t.dtype is not torch.float64 else t for t in tensors
    )


def values(tensor):
    """The tensor under torch.func's wrappers, for a check of its values: it holds those of every sample at once."""
    while not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
