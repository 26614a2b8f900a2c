"""What every operation shares: how its `autograd.Function` is called, and when torch's own is. No formula is here."""

import torch
from torch.compiler import is_compiling
from torch.overrides import has_torch_function_variadic

any_autocast = torch._C._is_any_autocast_enabled
tracing_state = torch._C._get_tracing_state
transforms_active = torch._C._are_functorch_transforms_active


class Function(torch.autograd.Function):
    """A `torch.autograd.Function` that works under torch.func.vmap: it saves inputs and outputs only."""

    generate_vmap_rule = True


def operation(function, torchs, cast=None):
    """A Python function that applies `function`, in the shortest way that its circumstances allow.

    The documented `function.apply` binds its arguments through `inspect` whenever `setup_context` is defined: about
    18 µs a call, twice the work of a small layer. The method underneath, without the binding, is the same outside
    torch.func's transforms. torch.compile refuses a Function with a `jvp`, so it is given a twin without.

    Args:
        function: the Function; its tensor arguments first.
        torchs: torch's operation of the same arguments. It does the work where no graph is recorded, inside
            torch.jit.trace (a trace records operations, not Functions), and for tensor subclasses, which bring their
            own kernels.
        cast: autocast's rule for the operation, `lower_precision` or `float32`; None where it has none.
    """
    compilable = type(function)(function.__name__, (function,), {"jvp": torch.autograd.Function.jvp})
    short = super(torch.autograd.Function, function).apply
    # the engine calls this method, which would look up `backward` and call it
    function._backward_cls.apply = function.backward

    def apply(*args):
        if torch.is_grad_enabled() and not (
            has_torch_function_variadic(*args)
            or any_autocast()
            or tracing_state() is not None
            or transforms_active()
            or is_compiling()
        ):
            return short(*args)
        if not torch.is_grad_enabled() or has_torch_function_variadic(*args) or tracing_state() is not None:
            return torchs(*args)
        if cast is not None and torch.is_autocast_enabled(args[0].device.type):
            args = cast(args)
        if is_compiling():
            return compilable.apply(*args)
        return function.apply(*args) if transforms_active() else short(*args)

    return apply


def lower_precision(args):
    """Autocast's rule for matrix products: every tensor in its dtype, float64 excepted."""
    return _cast(args, torch.get_autocast_dtype(args[0].device.type))


def float32(args):
    """Autocast's rule for losses: every tensor in float32, float64 excepted."""
    return _cast(args, torch.float32)


def _cast(args, dtype):
    # outside the Function, where autograd sees the cast, so that each gradient has its tensor's dtype
    return tuple(
        arg.to(dtype)
        if isinstance(arg, torch.Tensor) and arg.is_floating_point() and arg.dtype is not torch.float64
        else arg
        for arg in args
    )


def values(tensor):
    """The tensor under torch.func's wrappers, for a check of its values: it holds those of every sample at once."""
    while not is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
