"""Dropout: each number becomes 0 with probability p, and the others grow by 1/(1 − p).

    forward     m ∈ {0, 1/(1 − p)},  P(m = 0) = p      z = x ∘ m
    backward    dx = dz ∘ m
    tangent     ż  = ẋ ∘ m

The expected value of z is x. p is a number, or of an ensemble one for each member e: x (E, …), p (E). m is drawn from
torch's random stream, in the same order as torch draws it on a CPU, so that the same seed gives the same m; it is all
that is saved. `dropout1d`, `2d` and `3d` draw one m for each channel. In a step of the engine's optimizers m comes
from `torchbp/ops/_counter_random.py`: it is the same compiled or not, and for a member of an ensemble as for the
network alone.
"""

import functools

import torch
import torch.nn.functional as F
from torch.compiler import is_dynamo_compiling, is_exporting

from torchbp.ops._accumulate import per_member
from torchbp.ops._counter_random import advance, kept
from torchbp.ops._dispatch import VmappableFunction, is_left_to_torch, operation, save_for_jvp
from torchbp.ops.expressions import Symbol, X, dZ
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


class Dropout(VmappableFunction):
    """z = x ∘ m; m has the dimensions of x, and may be 1 where it is broadcast."""

    @staticmethod
    def forward(x, mask):
        return x * mask

    @staticmethod
    def setup_context(ctx, inputs, z):
        ctx.save_for_backward(inputs[1])
        save_for_jvp(ctx, inputs[1])

    @staticmethod
    def backward(ctx, dz):
        return (None if dz is None else dropout_dx(dz, *ctx.saved_tensors)), None

    @staticmethod
    def jvp(ctx, x_t, mask_t):
        return dropout_dx(x_t, *ctx.saved_tensors)


def dropout_dx(dz, mask):
    """dx = dz ∘ m."""
    return dz * mask


def drawn_mask(x, p, spatial=0, key=None):
    """m, 0 with probability p, otherwise 1/(1 − p); one for all the numbers in the last `spatial` dimensions.

    p is a number, or a tensor of one or of one for each member.
    """
    if isinstance(p, torch.Tensor):
        if p.dim():
            check_members(x, p)
    elif p == 1:
        return x.new_zeros(())  # torch draws no number then
    mask = x.new_empty((*x.shape[:-spatial], *[1] * spatial)) if spatial else torch.empty_like(x)
    if key is None:
        keep = 1 - per_member(p, x) if isinstance(p, torch.Tensor) else 1 - p
        mask = mask.bernoulli_(keep.expand_as(mask) if isinstance(p, torch.Tensor) else keep)
    else:
        numbers = kept(key, mask.numel() // (len(key) if key.dim() > 1 else 1), p)
        mask = numbers.view(mask.shape).to(x.dtype)
    if isinstance(p, torch.Tensor):
        return mask.mul_(per_member(torch.where(p < 1, 1 / (1 - p), 0).to(x.dtype), x))
    return mask.div_(1 - p)


def check_members(x, p):
    if x.dim() < 2 or len(x) != len(p):
        raise RuntimeError(f"p has {len(p)} numbers, one for each member; give an input ({len(p)}, N, …)")


apply_mask = operation(Dropout, torch.mul)


def dropout(
    input: torch.Tensor, p: float | torch.Tensor = 0.5, training: bool = True, inplace: bool = False
) -> torch.Tensor:
    r"""Zero with probability p, and 1/(1 − p) times the others: `Z = X ∘ m` (equations at the top of this file).

    Args:
        input: X, any shape and strides; floating or complex.
        p: the probability of 0, in [0, 1]; of an ensemble, input (E, …), also a tensor (E) of one for each member.
        training: False returns `input` as it is, and so does p = 0.
        inplace: write Z over X; this is then torch's own operation.

    Returns:
        Z, the shape of `input`. On a CPU the mask is that of `torch.nn.functional.dropout` for the same seed.

    Raises:
        ValueError: p is not in [0, 1].

    Example:
        >>> z = torchbp.ops.dropout(torch.ones(4), 0.5)  # zeros and twos
    """
    return dropped(F.dropout, input, p, training, inplace)


def dropout1d(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    r"""Zero whole channels with probability p: `Z = X ∘ m`, with one m ∈ {0, 1/(1 − p)} for each channel.

    Args:
        input: X, shape (N, C, L) or (C, L).
        p, training, inplace: as in `dropout`.

    Returns:
        Z, the shape of `input`. On a CPU the mask is that of torch for the same seed.

    Raises:
        ValueError: p is not in [0, 1].
        RuntimeError: `input` has other dimensions.

    Example:
        >>> z = torchbp.ops.dropout1d(torch.ones(2, 3, 5))  # each row of 5 is zeros or twos
    """
    return dropped(F.dropout1d, input, p, training, inplace, spatial=1, dims=(2, 3))


def dropout2d(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    r"""Zero whole channels with probability p: `Z = X ∘ m`, with one m ∈ {0, 1/(1 − p)} for each channel.

    Args:
        input: X, shape (N, C, H, W); torch takes other dimensions too, and warns of them.
        p, training, inplace: as in `dropout`.

    Returns:
        Z, the shape of `input`. On a CPU the mask is that of torch for the same seed.

    Raises:
        ValueError: p is not in [0, 1].
        RuntimeError: `input` has less than two dimensions.

    Example:
        >>> z = torchbp.ops.dropout2d(torch.ones(2, 3, 4, 4))  # each channel is zeros or twos
    """
    return dropped(F.dropout2d, input, p, training, inplace, spatial=2, dims=(4,))


def dropout3d(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    r"""Zero whole channels with probability p: `Z = X ∘ m`, with one m ∈ {0, 1/(1 − p)} for each channel.

    Args:
        input: X, shape (N, C, D, H, W); torch takes other dimensions too, and warns of them.
        p, training, inplace: as in `dropout`.

    Returns:
        Z, the shape of `input`. On a CPU the mask is that of torch for the same seed.

    Raises:
        ValueError: p is not in [0, 1].

    Example:
        >>> z = torchbp.ops.dropout3d(torch.ones(2, 3, 2, 2, 2))  # each channel is zeros or twos
    """
    return dropped(F.dropout3d, input, p, training, inplace, spatial=3, dims=(5,))


def dropout_of_torch(input, p, train):
    """`dropout` with the arguments of `torch.dropout`."""
    return dropout(input, p, train)


def dropped(by_torch, x, p, training, inplace, spatial=0, dims=None):
    """Z; torch refuses an x of other dimensions than `dims`, or warns of them."""
    if isinstance(p, torch.Tensor):  # of each member
        return apply_mask(x, drawn_mask(x, p, spatial)) if training else x
    wrong = not 0 <= p <= 1 or (dims is not None and x.dim() not in dims)
    left = is_exporting() if is_dynamo_compiling() else is_left_to_torch((x,))
    if wrong or inplace or x.numel() == 0 or left:
        return by_torch(x, p, training, inplace)
    return apply_mask(x, drawn_mask(x, p, spatial)) if training and p > 0 else x


def _forward(x, p, training, spatial=0, key=None):
    if not training:
        return x, None
    if key is not None:
        advance(key)  # whatever p is
    if not isinstance(p, torch.Tensor) and p == 0:
        return x, None
    mask = drawn_mask(x, p, spatial, key)
    return x * mask, mask


def _backward(dz, mask, p, training):
    return dz if mask is None else dropout_dx(dz, mask)


def _masked(tree):
    """The equation of x ∘ m; of a layer that drops nothing the one without m."""
    return lambda p=0.5, training=True, shapes=None: tree * Symbol("m") if training and p else tree


def _rule(function, module, by_torch, spatial, what, others=()):
    return register(
        Layer(
            name=function.__name__,
            apply=function,
            torch_module=module,
            torch_functions={by_torch: function, **dict(others)},
            options=("p", "training"),
            numbers=("p",),
            forward=functools.partial(_forward, spatial=spatial),
            backward=_backward,
            saves="returned",
            keyed=True,
            parameters=(),
            equation=_masked(X),
            backward_equation=_masked(dZ),
            backward_why="what was set to 0 changes nothing, and the rest was multiplied by m",
            drawn="m",
            description=f"{what} is set to 0 with probability p, and otherwise divided by 1 − p: m is 0 or 1/(1 − p). "
            "In evaluation it stays as it is.",
        )
    )


RULE = _rule(dropout, torch.nn.Dropout, F.dropout, 0, "Each number", {torch.dropout: dropout_of_torch})
RULE1D = _rule(dropout1d, torch.nn.Dropout1d, F.dropout1d, 1, "Each channel")
RULE2D = _rule(dropout2d, torch.nn.Dropout2d, F.dropout2d, 2, "Each channel")
RULE3D = _rule(dropout3d, torch.nn.Dropout3d, F.dropout3d, 3, "Each channel")
