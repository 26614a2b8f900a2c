"""How an operation's `autograd.Function` is called, and when torch's own operation is. No formula is here.

What a formula may do in its circumstances is said here too: write over what it made, compute in half precision.
"""

import torch
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling, is_exporting
from torch.overrides import has_torch_function_variadic

no_torch_function = torch._C._disabled_torch_function_impl
dispatch_includes = torch._C._dispatch_tls_is_dispatch_key_included
HALVES = torch.float16, torch.bfloat16
VMAP_MODE = torch._C._parse_dispatch_key("VmapMode")  # of the older vmap, behind `is_grads_batched`
any_autocast = torch._C._is_any_autocast_enabled
tracing_state = torch._C._get_tracing_state
transforms_active = torch._C._are_functorch_transforms_active
FORWARD_MODE, REVERSE_MODE = torch._C._functorch.TransformType.Jvp, torch._C._functorch.TransformType.Grad


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


def is_differentiated():
    """Whether somebody may differentiate what is computed now: statistics are then functions of x, not constants."""
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


def may_overwrite():
    """Whether a formula may write over tensors that it made: no graph, no transform and no compiler sees them."""
    if is_differentiated() or is_dynamo_compiling():
        return False
    return not (transforms_active() or dispatch_includes(VMAP_MODE))


def widened(tensor):
    """float16 and bfloat16 in float32, in which formulas of several steps are computed; None and others as they are."""
    return tensor.float() if tensor is not None and tensor.dtype in HALVES else tensor


def short_apply(function):
    """`function.apply` without what the documented one does for torch.func's transforms, at half its cost.

    The documented `apply` binds its arguments through `inspect` whenever `setup_context` is defined: about 18 µs a
    call, twice the work of a small layer. For each backward autograd calls an `apply` that looks up `backward`; here it
    is `backward` itself, which saves 1.2 µs.
    """
    function._backward_cls.apply = function.backward
    return super(torch.autograd.Function, function).apply


def is_left_to_torch(args):
    """Whether a tensor of a subclass, nested or quantised brings its own kernels, or a tracer records operations.

    torch's `has_torch_function` says so in any mode too: `with torch.device(…)` is one, and so is
    `torch.set_default_device`. A mode sees the operations in our formulas.
    """
    if dispatch_includes(torch._C.DispatchKey.PreDispatch):  # torch.export
        return True
    if not torch._C._is_torch_function_enabled():
        return False
    if any(overrides(type(arg)) for arg in args):
        return True
    with torch._C.DisableTorchFunction():  # a mode would be asked for each attribute, at 1 µs each
        return any(isinstance(arg, torch.Tensor) and (arg.is_nested or arg.is_quantized) for arg in args)


def overrides(cls):
    """Whether the class overrides `__torch_function__`, which torch's operations then call."""
    override = getattr(cls, "__torch_function__", no_torch_function)
    return cls is not torch.Tensor and override is not no_torch_function


def operation(function, by_torch, cast=None):
    """A Python function that applies `function`, in the shortest way that its circumstances allow.

    Args:
        function: the Function; its tensor arguments first.
        by_torch: torch's operation of the same arguments. It does the work where no graph is recorded, inside
            torch.jit.trace (a trace records operations, not Functions), for quantised tensors, which have no gradient,
            and for nested tensors and tensor subclasses, which bring their own kernels.
        cast: autocast's rule for the operation, `lower_precision` or `float32`; None where it has none.
    """
    # torch.compile refuses a Function with a `jvp`
    compilable = type(function)(function.__name__, (function,), {"jvp": torch.autograd.Function.jvp})
    short = short_apply(function)

    def apply(*args):
        if not torch.is_grad_enabled() or tracing_state() is not None:
            return by_torch(*args)
        if has_torch_function_variadic(*args):
            if is_left_to_torch(args):
                return by_torch(*args)
        elif not isinstance(args[0], torch.Tensor) or args[0].is_nested or args[0].is_quantized:
            return by_torch(*args)  # torch's error where it is no tensor
        if not (any_autocast() or transforms_active() or is_dynamo_compiling()):
            return short(*args)
        # torch.export(strict=True) would record a Function without its gradient. In a compiled torch.func.grad torch
        # tells the second of two Functions that its parameters need no gradient, and gives zeros.
        if is_dynamo_compiling() and (is_exporting() or transforms_active()):
            return by_torch(*args)
        if transforms_active() and not is_dynamo_compiling() and differentiates_tangents():
            return by_torch(*args)
        if cast is not None and torch.is_autocast_enabled(args[0].device.type):
            args = cast(args)
        if is_dynamo_compiling():
            return compilable.apply(*_distinct(args))
        return function.apply(*args) if transforms_active() else short(*args)

    return apply


def differentiates_tangents():
    """Whether transforms of torch.func differentiate a tangent, as in `jacfwd(jacfwd(f))`. What a Function's `jvp`
    gives is a constant there."""
    kinds = [level.key() for level in torch._C._functorch.get_interpreter_stack()]
    kinds = [kind for kind in kinds if kind in (FORWARD_MODE, REVERSE_MODE)]
    return FORWARD_MODE in kinds[1:]


def _distinct(args):
    """The arguments; a view of a tensor that occurs twice, such as Q and K of self-attention: torch.compile refuses
    it."""
    seen = []
    for arg in args:
        again = isinstance(arg, torch.Tensor) and any(arg is other for other in seen)
        seen.append(arg.view_as(arg) if again else arg)
    return seen


def lower_precision(args):
    """Autocast's rule for matrix products: every tensor in its dtype, float64 excepted."""
    return _cast(args, torch.get_autocast_dtype(args[0].device.type))


def float32(args):
    """Autocast's rule for losses: every tensor in float32, float64 excepted."""
    return _cast(args, torch.float32)


def float32_on_cuda(args):
    """Autocast's rule for softmax and layer norm: float32 on CUDA alone."""
    return float32(args) if args[0].device.type == "cuda" else args


def _cast(args, dtype):
    # outside the Function, where autograd sees the cast, so that each gradient has its tensor's dtype
    return tuple(
        _cast_tensor(arg, dtype)
        if isinstance(arg, torch.Tensor) and arg.is_floating_point() and arg.dtype is not torch.float64
        else arg
        for arg in args
    )


def _cast_tensor(tensor, dtype):
    """The tensor in this dtype. Of a parameter that autocast would keep, the one that it keeps: a layer that runs often
    in one autocast context has one cast weight."""
    if not (
        tensor.dim() > 1
        and tensor.dim() in _PROBES
        and tensor.requires_grad
        and tensor.dtype is torch.float32 is not dtype
        and tensor.is_leaf
        and torch.is_autocast_cache_enabled()
        and not (is_dynamo_compiling() or transforms_active())
    ):
        return tensor.to(dtype)
    with torch._C.DisableTorchFunction():  # a mode would replace the operation by ours
        cast = _PROBES[tensor.dim()](tensor, dtype)
    return cast if cast.requires_grad and cast.dtype is dtype else tensor.to(dtype)


# torch has no function that casts through its cache. An operation of no rows does, and saves the cast for its backward.


def _by_product(matrix, dtype):
    rows = torch.empty(0, len(matrix), dtype=dtype, device=matrix.device, requires_grad=True)
    return torch.mm(rows, matrix).grad_fn._saved_mat2


def _by_convolution(convolution):
    def cast(weight, dtype):
        rows = torch.empty(0, *weight.shape[1:], dtype=dtype, device=weight.device, requires_grad=True)
        return convolution(rows, weight).grad_fn._saved_weight

    return cast


_PROBES = {
    2: _by_product,
    3: _by_convolution(torch.conv1d),
    4: _by_convolution(torch.conv2d),
    5: _by_convolution(torch.conv3d),
}  # by the dimensions of the parameter


def values(tensor):
    """The tensor under torch.func's wrappers, for a check of its values: it holds those of every sample at once."""
    while not is_dynamo_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
