"""A scale and a shift of each feature, of each of E networks: Z_e = X_e ∘ w_e + b_e, and its derivatives from dZ.

    forward     Z_e  = X_e ∘ w_e + b_e
    backward    dX_e = dZ_e ∘ conj(w_e)     dw_e = Σ_n dZ_e ∘ conj(X_e)     db_e = Σ_n dZ_e
    tangent     Ż_e  = Ẋ_e ∘ w_e + X_e ∘ ẇ_e + ḃ_e

It is what a layer norm has beside its statistics, one for each member: the norm of a row is the same for all.
"""

import torch

from torchbp.ops._dispatch import operation
from torchbp.ops.expressions import SumOver, Symbol, X, dZ
from torchbp.ops.layers.linear import Linear
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class EnsembleScale(Linear):
    """Z_e = X_e ∘ w_e + b_e: X (E, N, n), w (E, n), b (E, n) or None, Z (E, N, n). It saves what `Linear` saves."""

    @staticmethod
    def forward(x, weight, bias):
        return scaled(x, weight, bias)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None
        x, weight = ctx.saved_tensors
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad
        dx = scale_dx(dz, weight) if needs_dx else None
        return dx, scale_dweight(dz, x) if needs_dweight else None, scale_dbias(dz) if needs_dbias else None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t):
        x, weight = ctx.saved_tensors
        return scaled(x_t, weight, bias_t) + x * of_rows(weight_t)


def of_rows(weight):
    """w_e beside each row: (E, n) as (E, 1, n)."""
    return weight.unsqueeze(-2)


def scaled(x, weight, bias):
    """Z_e = X_e ∘ w_e + b_e."""
    if bias is None:
        return x * of_rows(weight)
    return torch.addcmul(of_rows(bias), x, of_rows(weight))


def scale_dx(dz, weight):
    """dX_e = dZ_e ∘ conj(w_e)."""
    return dz * of_rows(weight.conj())


def scale_dweight(dz, x):
    """dw_e = Σ_n dZ_e ∘ conj(X_e)."""
    return (dz * x.conj()).sum(-2)


def scale_dbias(dz):
    """db_e = Σ_n dZ_e."""
    return dz.sum(-2)


apply_ensemble_scale = operation(EnsembleScale, scaled)


def ensemble_scale(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    r"""A scale and a shift of each feature of each of E networks, `Z_e = X_e ∘ w_e + b_e` (equations at the top of this
    file).

    Args:
        input: X, shape `(E, N, n)`, or `(N, n)`, rows that all members share; floating or complex.
        weight: w, shape `(E, n)`, the dtype of `input`.
        bias: b, shape `(E, n)`, or None.

    Returns:
        Z, shape `(E, N, n)`.

    Raises:
        RuntimeError: shapes that do not fit.

    Example:
        >>> torchbp.ops.ensemble_scale(torch.randn(32, 30), torch.ones(64, 30)).shape  # (64, 32, 30)
    """
    fits = weight.dim() == 2 and input.dim() in (2, 3) and input.shape[-1] == weight.shape[1]
    if not fits or (input.dim() == 3 and len(input) != len(weight)) or not (bias is None or bias.shape == weight.shape):
        of_bias = "" if bias is None else f" and bias {tuple(bias.shape)}"
        raise RuntimeError(
            f"input has the shape {tuple(input.shape)}, weight {tuple(weight.shape)}{of_bias}; give (N, n) or "
            "(E, N, n), and (E, n) for both others"
        )
    if input.dim() == 2:
        input = input.expand(len(weight), -1, -1)  # autograd adds up the members' dX
    return apply_ensemble_scale(input, weight, bias)


RULE = register(
    Layer(
        name="ensemble_scale",
        apply=ensemble_scale,
        forward=scaled,
        backward=lambda dz, x, weight, bias: scale_dx(dz, weight),
        saves="input",
        new_memory=True,
        parameters=(
            Parameter("weight", "w", gradient=scale_dweight, equation=SumOver(dZ * X, rows=True)),
            Parameter("bias", "b", gradient=lambda dz, saved: scale_dbias(dz), equation=SumOver(dZ, rows=True)),
        ),
        equation=X * Symbol("w") + Symbol("b"),
        backward_equation=dZ * Symbol("w"),
        description="Each feature is scaled and shifted.",
    )
)
