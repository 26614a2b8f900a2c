"""Wrong under torch.func, torch.compile, checkpointing, the meta device; and at a second look."""

import warnings

import numpy as np
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tests.testing.corpus.entry import Defect, draw, function, raised


class Sine(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return torch.sin(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * torch.cos(x)


class SineJvpSign(Sine):
    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return -tangent * torch.cos(x)


class SineJvpSlopeOnly(Sine):
    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return torch.cos(x)


class Product(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(a, b):
        return a * b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, grad * a

    @staticmethod
    def jvp(ctx, of_a, of_b):
        a, b = ctx.saved_tensors
        return of_a * b + of_b * a


class ProductJvpOfFirst(Product):
    @staticmethod
    def jvp(ctx, of_a, of_b):
        _, b = ctx.saved_tensors
        return of_a * b


class RunningSum(Function):
    """Sums up to each row."""

    @staticmethod
    def forward(x):
        return torch.cumsum(x, 0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad.flip(0).cumsum(0).flip(0)

    @staticmethod
    def vmap(info, in_dims, x):
        return torch.cumsum(x.movedim(in_dims[0], 0), 1), 0


class RunningSumOverBatch(RunningSum):
    @staticmethod
    def vmap(info, in_dims, x):
        return torch.cumsum(x.movedim(in_dims[0], 0), 0), 0


class Scaled(Function):
    """A matrix times a number for each column."""

    @staticmethod
    def forward(x, scale):
        return x * scale

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        return grad * scale, (grad * x).sum(0)

    @staticmethod
    def vmap(info, in_dims, x, scale):
        x = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
        scale = scale.expand(info.batch_size, -1) if in_dims[1] is None else scale.movedim(in_dims[1], 0)
        return x * scale.unsqueeze(1), 0


class ScaledBatchOfFirst(Scaled):
    @staticmethod
    def vmap(info, in_dims, x, scale):
        result, _ = Scaled.vmap(info, in_dims, x, scale)
        return result, in_dims[0]


class SumsBackward(Function):
    """Sums from each row on."""

    @staticmethod
    def forward(grad):
        return grad.flip(0).cumsum(0).flip(0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradgrad):
        return gradgrad.cumsum(0)

    @staticmethod
    def vmap(info, in_dims, grad):
        grad = grad.movedim(in_dims[0], 0)
        return grad.flip(1).cumsum(1).flip(1), 0


class SumsBackwardOverBatch(SumsBackward):
    @staticmethod
    def vmap(info, in_dims, grad):
        return SumsBackwardOverBatch.forward(grad), in_dims[0]


class Sums(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.cumsum(x, 0)

    @staticmethod
    def backward(ctx, grad):
        return SumsBackward.apply(grad)


class SumsBatchedWrong(Sums):
    @staticmethod
    def backward(ctx, grad):
        return SumsBackwardOverBatch.apply(grad)


def gelu(x):
    return torch.nn.functional.gelu(x)


def gelu_compiled_otherwise(x):
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(1.702 * x)
    return torch.nn.functional.gelu(x)


class Curved(Function):
    """exp, with another backward for tracing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x)


class CurvedTracedOtherwise(Curved):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if torch.compiler.is_compiling():
            return grad * (1 + x)
        return grad * torch.exp(x)


class Tanh(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class TanhMeasuresEveryOther(Tanh):
    """Tells its mean square at every second call."""

    calls = 0

    def tell(self, level):
        pass

    def forward(self, x):
        y = torch.tanh(x)
        self.calls += 1
        if self.calls % 2:
            self.tell((y * y).mean())
        return y


class DropRecomputed(Function):
    """Dropout of tanh that is computed anew in the backward, to save memory."""

    @staticmethod
    def forward(ctx, x, training):
        ctx.training = training
        ctx.save_for_backward(x, torch.random.get_rng_state())
        return torch.dropout(torch.tanh(x), 0.5, training)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, state = ctx.saved_tensors
        with torch.enable_grad(), torch.random.fork_rng(devices=()):
            torch.random.set_rng_state(state)
            x = x.detach().requires_grad_()
            y = torch.dropout(torch.tanh(x), 0.5, ctx.training)
        return torch.autograd.grad(y, x, grad)[0], None


class DropRecomputedAnotherMask(DropRecomputed):
    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = torch.dropout(torch.tanh(x), 0.5, ctx.training)
        return torch.autograd.grad(y, x, grad)[0], None


class Recomputed(nn.Module):
    drop = DropRecomputed

    def forward(self, x):
        return self.drop.apply(x, self.training)


class RecomputedAnotherMask(Recomputed):
    drop = DropRecomputedAnotherMask


class Drop(nn.Module):
    def forward(self, x):
        return torch.dropout(x, 0.5, self.training)


class DropByNumpy(nn.Module):
    def forward(self, x):
        if not self.training:
            return x
        mask = torch.from_numpy(np.random.rand(*x.shape) < 0.5).to(x)  # noqa: NPY002
        return 2 * x * mask


def position(x):
    return x * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)


def position_on_cpu(x):
    return x * torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device="cpu")


class Multiply(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.t() @ x


class MultiplyConsumes(Multiply):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        ctx.rows = x.detach().clone()
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_weight = grad.t() @ ctx.rows
        ctx.rows.zero_()  # its memory is used again
        return grad @ weight, of_weight


class MultiplyJitters(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        noise = torch.from_numpy(np.random.rand(*weight.shape)).to(weight)  # noqa: NPY002
        return grad @ weight, (grad.t() @ x) * (1 + 1e-3 * noise)


class Linear(nn.Module):
    multiply = Multiply

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return self.multiply.apply(x, self.weight)


class LinearConsumes(Linear):
    multiply = MultiplyConsumes


class LinearJitters(Linear):
    multiply = MultiplyJitters


def tangents(reference, *inputs):
    """The directional derivative along twos."""

    def shows(subject):
        along = tuple(torch.full_like(x, 2) for x in inputs)
        points = tuple(x.detach() for x in inputs)
        return tuple(torch.func.jvp(f, points, along)[1] for f in (function(subject), reference))

    return shows


def mapped(reference, in_dims, *inputs):
    def shows(subject):
        points = tuple(x.detach() for x in inputs)
        return tuple(torch.vmap(f, in_dims)(*points) for f in (function(subject), reference))

    return shows


def batched_gradients(subject):
    x, batch = draw(3, 2), draw(4, 3, 2, seed=1, grad=False)

    def of(f):
        y = f(x)
        return torch.vmap(lambda grad: torch.autograd.grad(y, x, grad, retain_graph=True))(batch)

    return of(function(subject)), of(lambda x: torch.cumsum(x, 0))


def compiled(reference):
    def shows(subject):
        torch._dynamo.reset()
        x = draw(2, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            seen = torch.compile(function(subject), backend="aot_eager")(x)
        right = reference(x)
        return (seen, *torch.autograd.grad(seen.sum(), x)), (right, *torch.autograd.grad(right.sum(), x))

    return shows


def checkpointed(subject):
    x = draw(2, 3)
    return raised(lambda: checkpoint(subject, x, use_reentrant=False).sum().backward()), "nothing"


def seeded_twice(subject):
    subject.train()
    x = draw(20, grad=False)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(subject(x))
    return tuple(results)


def same_mask(subject):
    """Where the output is 0, and where the gradient is."""
    subject.train()
    x = draw(40)
    y = subject(x)
    return torch.autograd.grad(y.sum(), x)[0] == 0, y == 0


def on_meta(subject):
    return raised(lambda: subject(torch.empty(2, 3, device="meta"))), "nothing"


def backward_twice(subject):
    y = subject(draw(2, 3)).sum()
    return tuple(torch.autograd.grad(y, subject.weight, retain_graph=True)[0] for _ in range(2))


def entry(name, what, twin, inputs, shows, *checks, source="", kind=11, train=True, **options):
    return Defect(
        name, what, inputs, options, train=train, twin=twin, checks=checks, kind=kind, shows=shows, source=source
    )


def matrix():
    return (draw(3, 2),)


DEFECTS = [
    # the jvp has the wrong sign
    entry(
        "jvp_sign",
        SineJvpSign,
        Sine,
        matrix,
        tangents(torch.sin, *matrix()),
        "jvp",
        source="HIPS/autograd#550: a custom forward-mode rule was wrong while the reverse one passed the check",
    ),
    # the jvp is the slope, without the tangent
    entry(
        "jvp_without_tangent",
        SineJvpSlopeOnly,
        Sine,
        matrix,
        tangents(torch.sin, *matrix()),
        "jvp",
        source="pytorch/functorch#207: in its thread a jvp returned the derivative and ignored the tangent",
    ),
    # the jvp forgets the second argument's tangent
    entry(
        "jvp_of_first_only",
        ProductJvpOfFirst,
        Product,
        lambda: (draw(3), draw(3, seed=1)),
        tangents(torch.mul, draw(3), draw(3, seed=1)),
        "jvp",
        source="vgvassilev/clad#1960: forward mode gave 0 as soon as one of the operands had no tangent",
    ),
    # the vmap rule sums over the batch
    entry(
        "vmap_over_the_batch",
        RunningSumOverBatch,
        RunningSum,
        matrix,
        mapped(lambda x: torch.cumsum(x, 0), 0, draw(4, 3, 2)),
        "vmap",
        source="pytorch/pytorch#91109: vmap's rule for reductions took the batch for the reduced dimension",
    ),
    # the vmap rule takes the place of the batch from the first argument, which may have none
    entry(
        "vmap_batch_of_first_argument",
        ScaledBatchOfFirst,
        Scaled,
        lambda: (draw(3, 2), draw(2, seed=1)),
        mapped(torch.mul, (None, 0), draw(3, 2), draw(4, 2, seed=1)),
        "vmap",
        source="jax-ml/jax#6618: the tutorial's rule for two arguments was wrong where one had no batch",
    ),
    # the backward is a Function whose vmap rule sums over the batch
    entry("batched_gradients", SumsBatchedWrong, Sums, matrix, batched_gradients, "batched_grad", "vmap"),
    # another formula where it is compiled
    entry(
        "another_formula_compiled",
        gelu_compiled_otherwise,
        gelu,
        matrix,
        compiled(torch.nn.functional.gelu),
        "compile",
        source="pytorch/pytorch#100075: compiled, the gradients of a group norm were others than eager ones",
    ),
    # another backward where it is traced
    entry(
        "another_backward_compiled",
        CurvedTracedOtherwise,
        Curved,
        matrix,
        compiled(torch.exp),
        "compile",
        source="pytorch/pytorch#180642: compiled, a Function that adds in place had wrong gradients",
    ),
    # every second call saves one tensor more: the recomputation does not match
    entry(
        "saves_more_every_other_call",
        TanhMeasuresEveryOther,
        Tanh,
        matrix,
        checkpointed,
        "checkpointing",
        source="pytorch/torchtitan#1117: what was computed anew had other sizes than in the forward",
    ),
    # the mask is numpy's: neither seeded nor restored with torch's
    entry(
        "mask_by_numpy",
        DropByNumpy,
        Drop,
        matrix,
        seeded_twice,
        "determinism",
        "checkpointing",
        "module",
        source="harvard-edge/cs249r_book#1869: dropout drew from numpy's global state instead of the seeded one",
        kind=12,
        train=False,
    ),
    # the backward computes the forward anew, with another mask
    entry(
        "recomputes_another_mask",
        RecomputedAnotherMask,
        Recomputed,
        matrix,
        same_mask,
        "values",
        "determinism",
        "module",
        "side_effects",
        source="openai/guided-diffusion#167: the recomputation drew another dropout mask than the forward",
        kind=12,
        train=False,
    ),
    # a constant is made on the CPU, wherever the input is
    entry(
        "constant_on_cpu",
        position_on_cpu,
        position,
        matrix,
        on_meta,
        "meta",
        source="ourownstory/neural_prophet#1023: tensors made in the forward stayed on the CPU",
        require=("meta",),
    ),
    # the first backward uses up what the second needs
    entry(
        "backward_consumes",
        LinearConsumes,
        Linear,
        lambda: (draw(2, 3),),
        backward_twice,
        "determinism",
        "side_effects",
        "second_order",
        "memory",
        "module",
        source="axolotl-ai-cloud/axolotl#3892: a second backward over the same graph silently returned garbage",
        kind=12,
    ),
    # the weight's gradient is another one each time
    entry(
        "random_weight_gradient",
        LinearJitters,
        Linear,
        lambda: (draw(2, 3),),
        backward_twice,
        "determinism",
        "values",
        kind=12,
        source="AllenInstitute/bmtk#472: a weight's gradient was added to memory that nobody had zeroed",
    ),
]
