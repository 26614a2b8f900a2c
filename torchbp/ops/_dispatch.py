"""How an operation's `autograd.Function` is called, and when torch's own operation is. No formula is here."""

import torch
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling
from torch.overrides import has_torch_function_variadic

no_torch_function = torch._C._disabled_torch_function_impl
dispatch_includes = torch._C._dispatch_tls_is_dispatch_key_included
any_autocast = torch._C._is_any_autocast_enabled
tracing_state = torch._C._get_tracing_state
transforms_active = torch._C._are_functorch_transforms_active


class VmappableFunction(torch.autograd.Function):
    """A `torch.autograd.Function` that works under torch.func.vmap: it saves inputs and outputs only."""

    generate_vmap_rule = True


def save_for_jvp(ctx, *tensors):
    """Call `ctx.save_for_forward` inside forward-mode AD only: it costs 1 µs, which a training step need not pay.

    Inside it, missing tangents are zeros; elsewhere, missing gradients are None, as torch's are.
    """
    tangents = forward_ad._current_level >= 0
    ctx.set_materialize_grads(tangents)
    if tangents:
        ctx.save_for_forward(*tensors)


def short_apply(function):
    """`function.apply` without what the documented one does for torch.func's transforms, at half its cost.

    The documented `apply` binds its arguments through `inspect` whenever `setup_context` is defined: about 18 µs a
    call, twice the work of a small layer. For each backward autograd calls an `apply` that looks up `backward`; here it
    is `backward` itself, which saves 1.2 µs.
    """
    function._backward_cls.apply = function.backward
    return super(torch.autograd.Function, function).apply


def is_left_to_torch(args):
    """Whether a tensor subclass brings its own kernels, or a tracer records torch's operations, where torch's
    `has_torch_function` says so. It says so in any mode too: `with torch.device(…)` is one, and so is
    `torch.set_default_device`. A mode sees the operations in our formulas.
    """
    if dispatch_includes(torch._C.DispatchKey.PreDispatch):  # torch.export
        return True
    return torch._C._is_torch_function_enabled() and any(overrides(type(arg)) for arg in args)


def overrides(cls):
    """Whether the class overrides `__torch_function__`, which torch's operations then call."""
    override = getattr(cls, "__torch_function__", no_torch_function)
    return cls is not torch.Tensor and override is not no_torch_function


def operation(function, by_torch, cast=None):
    """A Python function that applies `function`, in the shortest way that its circumstances allow.

    Args:
        function: the Function; its tensor arguments first.
        by_torch: torch's operation of the same arguments. It does the work where no graph is recorded, inside
            torch.jit.trace (a trace records operations, not Functions), and for tensor subclasses, which bring their
            own kernels.
        cast: autocast's rule for the operation, `lower_precision` or `float32`; None where it has none.
    """
    # torch.compile refuses a Function with a `jvp`
    compilable = type(function)(function.__name__, (function,), {"jvp": torch.autograd.Function.jvp})
    short = short_apply(function)

    def apply(*args):
        if not torch.is_grad_enabled() or tracing_state() is not None:
            return by_torch(*args)
        if has_torch_function_variadic(*args) and is_left_to_torch(args):
            return by_torch(*args)
        if not (any_autocast() or transforms_active() or is_dynamo_compiling()):
            return short(*args)
        if cast is not None and torch.is_autocast_enabled(args[0].device.type):
            args = cast(args)
        if is_dynamo_compiling():
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
    while not is_dynamo_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
