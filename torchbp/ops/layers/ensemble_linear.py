"""The linear layers of E networks in one: Z_e = X_e W_eᵀ + b_e of each member e, and its derivatives from dZ = ∂L/∂Z.

    forward     Z_e  = X_e W_eᵀ + b_e
    backward    dX_e = dZ_e conj(W_e)      dW_e = dZ_eᵀ conj(X_e)      db_e = Σ_n dZ_e
    tangent     Ż_e  = Ẋ_e W_eᵀ + X_e Ẇ_eᵀ + ḃ_e

These are the formulas of `linear.py`, each product one batched product over the members.
"""

import torch

from torchbp.ops._dispatch import lower_precision, operation
from torchbp.ops.layers.linear import EQUATIONS, WORDS, Linear, fold_scales, parameters
from torchbp.ops.layers.linear import RULE as LINEAR
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer


class EnsembleLinear(Linear):
    """Z_e = X_e W_eᵀ + b_e: X (E, N, in), W (E, out, in), b (E, out) or None, Z (E, N, out)."""

    @staticmethod
    def forward(x, weight, bias):
        return affine(x, weight, bias)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad
        x, weight = ctx.saved_tensors
        dbias = ensemble_dbias(dz) if needs_dbias else None
        # a bias of a higher precision makes Z one of it
        dweight = ensemble_dweight(dz.to(x.dtype), x) if needs_dweight else None
        dx = ensemble_dx(dz.to(weight.dtype), weight) if needs_dx else None
        return dx, dweight, dbias

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t):
        x, weight = ctx.saved_tensors
        return affine(x_t, weight, bias_t) + x @ weight_t.mT  # (Ẋ Wᵀ + ḃ) + X Ẇᵀ


def affine(x, weight, bias):
    """Z_e = X_e W_eᵀ + b_e."""
    z = x @ weight.mT  # on a CPU faster than a product that starts from b
    return z if bias is None else z + bias.unsqueeze(-2)


def affine_(x, weight, bias):
    """The same without a second tensor as large as Z, and without a graph."""
    z = x @ weight.mT
    return z if bias is None else z.add_(bias.unsqueeze(-2))


def ensemble_dx(dz, weight):
    """dX_e = dZ_e conj(W_e)."""
    return dz @ weight.conj()


def ensemble_dweight(dz, x):
    """dW_e = dZ_eᵀ conj(X_e)."""
    return dz.mT @ x.conj()


def ensemble_dbias(dz):
    """db_e = Σ_n dZ_e."""
    return dz.sum(-2)


def add_ensemble_dweight(out, dz, x, beta, scale):
    """out_e ← β out_e + s dW_e in place, in one batched product."""
    if isinstance(beta, torch.Tensor) or isinstance(scale, torch.Tensor):
        beta, dz, scale = fold_scales(out, beta, dz, scale)
    out.baddbmm_(dz.mT, x.conj(), beta=beta, alpha=scale)


def add_ensemble_dbias(out, dz, _, beta, scale):
    """out_e ← β out_e + s db_e in place; summed, since a product with ones takes four times as long here."""
    if isinstance(beta, torch.Tensor) or isinstance(scale, torch.Tensor):
        beta, dz, scale = fold_scales(out, beta, dz, scale)
    if beta != 1:
        out.mul_(beta) if beta else out.zero_()
    out.add_(ensemble_dbias(dz), alpha=scale)


apply_ensemble_linear = operation(EnsembleLinear, affine, cast=lower_precision)


def ensemble_linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    r"""The affine map of each of E networks, `Z_e = X_e W_eᵀ + b_e` (equations at the top of this file).

    Args:
        input: X, shape `(E, N, in_features)`, or `(N, in_features)`, rows that all members share; floating or complex.
        weight: W, shape `(E, out_features, in_features)`, the dtype of `input`.
        bias: b, shape `(E, out_features)`, or None.

    Returns:
        Z, shape `(E, N, out_features)`.

    Raises:
        RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> z = torchbp.ops.ensemble_linear(torch.randn(32, 30), torch.randn(64, 16, 30), torch.zeros(64, 16))
        >>> z.shape  # (64, 32, 16)
    """
    if input.dim() == 2:
        input = input.expand(len(weight), -1, -1)  # autograd adds up the members' dX
    elif input.dim() != 3:
        raise RuntimeError(
            f"input has the shape {tuple(input.shape)}; give (N, in_features), or (E, N, in_features) with the rows of "
            f"each of the {len(weight)} members"
        )
    return apply_ensemble_linear(input, weight, bias)


def _backward(dz, x, weight, bias):
    return ensemble_dx(dz, weight)


RULE = register(
    Layer(
        name="ensemble_linear",
        apply=ensemble_linear,
        forward=affine_,
        backward=_backward,
        saves="input",
        new_memory=True,
        of_member=LINEAR,
        parameters=parameters(ensemble_dweight, ensemble_dbias, add_ensemble_dweight, add_ensemble_dbias),
        **EQUATIONS,
        **WORDS,
    )
)
