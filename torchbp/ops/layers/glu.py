"""Gated linear unit: the first half of X along `dim`, P, times the sigmoid of the second half, Q.

forward     Z  = P ∘ σ(Q)                   X = [P, Q]
backward    dP = dZ ∘ σ(Q)                  dQ = dZ ∘ P ∘ σ(Q) ∘ σ(−Q)
tangent     Ż  = Ṗ ∘ σ(Q) + P ∘ σ(Q) ∘ σ(−Q) ∘ Q̇
"""

import math

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, is_differentiated, operation, save_for_jvp
from torchbp.ops.expressions import X, dZ, sigma
from torchbp.ops.layers._dim import axis_of
from torchbp.ops.places import Beside, Gather
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


def glu_dx(dz, x, dim):
    """dX = [dZ ∘ σ(Q), dZ ∘ P ∘ σ(Q) ∘ σ(−Q)]: by torch's kernel where nobody differentiates it. Forward
    and backward of 512 × 1024 numbers take twice as long without it."""
    return glu_dx_written_out(dz, x, dim) if is_differentiated() else torch.ops.aten.glu_backward(dz, x, dim)


def glu_dx_written_out(dz, x, dim):
    """[dZ ∘ σ(Q), dZ ∘ P ∘ σ(Q) ∘ σ(−Q)], by operations that can be differentiated."""
    p, q = x.chunk(2, dim)
    dp = dz * torch.sigmoid(q)
    return torch.cat([dp, dp * p * torch.sigmoid(-q)], dim)


class GLU(VmappableFunction):
    """Z = P ∘ σ(Q), of the halves of X along `dim`."""

    @staticmethod
    def forward(x, dim):
        return F.glu(x, dim)

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, ctx.dim = inputs
        ctx.save_for_backward(x)
        save_for_jvp(ctx, x)

    @staticmethod
    def backward(ctx, dz):
        return None if dz is None else glu_dx(dz, *ctx.saved_tensors, ctx.dim), None

    @staticmethod
    def jvp(ctx, x_t, _):
        (x,) = ctx.saved_tensors
        (p, q), (p_t, q_t) = x.chunk(2, ctx.dim), x_t.chunk(2, ctx.dim)
        return torch.sigmoid(q) * (p_t + p * torch.sigmoid(-q) * q_t)


apply_glu = operation(GLU, F.glu)


def glu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    r"""Gated linear unit: `Z = P ∘ σ(Q)`, of the halves of X (equations at the top of this file).

    Args:
        input: X, with an even size along `dim`; floating.
        dim: along which X is halved.

    Returns:
        Z, half as large as `input` along `dim`.

    Raises:
        RuntimeError: the size along `dim` is odd, or there is no dimension.
        IndexError: `dim` is out of range.

    Example:
        >>> z = torchbp.ops.glu(torch.tensor([2.0, 0.0]))  # tensor([1.])
    """
    return apply_glu(input, dim)


PAIR = {"X": (2,)}


def _halves(dim, shape):
    """(the places of P and those of Q among the numbers of a row, which are halved along `dim`), or None."""
    if (axis := axis_of(dim, shape)) is None:
        return None
    half = math.prod(shape[axis:]) // 2
    first = [unit for unit in range(math.prod(shape)) if unit // half % 2 == 0]
    return tuple(first), tuple(unit + half for unit in first)


def _equation(dim=-1, shapes=PAIR):
    if (found := _halves(dim, shapes["X"])) is None:
        return None
    p, q = found
    return Gather(X, p, name="left") * sigma(Gather(X, q, name="right"))


def _backward_equation(dim=-1, shapes=PAIR):
    if (found := _halves(dim, shapes["X"])) is None:
        return None
    left, right = found
    p, q = Gather(X, left, name="left"), Gather(X, right, name="right")
    both = Beside(dZ * sigma(q), dZ * p * sigma(q) * (1 - sigma(q)))
    order = (*left, *right)
    if order == tuple(range(len(order))):
        return both
    return Gather(both, tuple(sorted(range(len(order)), key=order.__getitem__)))


RULE = register(
    Layer(
        name="glu",
        apply=glu,
        torch_module=torch.nn.GLU,
        torch_functions={F.glu: glu},
        options=("dim",),
        forward=F.glu,
        backward=glu_dx,
        saves="input",
        new_memory=True,
        parameters=(),
        resizes=True,
        equation=_equation,
        backward_equation=_backward_equation,
        backward_why="the left half is multiplied by σ of the right one; the slope of that is σ(1 − σ)",
        description="The first half of each row is multiplied by the sigmoid of the second half.",
    )
)
