"""Periodic embedding of numbers: all features, and cosines of the first ones, at frequencies that are learnt.

    forward     U_nfk = X_nf w_fk + b_fk          Z = [X, cos U]
    backward    dU = −sin U ∘ dZ_U        dX_nf = dZ_nf + Σ_k dU ∘ w        dw = Σ_n dU ∘ X        db = Σ_n dU
    tangent     Ż = [Ẋ, −sin U ∘ (Ẋ ∘ w + X ∘ ẇ + ḃ)]

n counts the rows, k the K waves of a feature, and f the first F features, those that w has; the others only pass.
dZ_U are the columns of dZ behind those of X.

A network of plain layers has to bend its activations until they follow a quick change of a single feature. The waves
have it already (Gorishniy, Rubachev, Babenko: On Embeddings for Numerical Features in Tabular Deep Learning, 2022;
Holzmüller, Grinsztajn, Steinwart: Better by Default, 2024, which adds the phase and X itself).
"""

import math

import torch

from torchbp.ops._dispatch import VmappableFunction, operation, save_for_jvp
from torchbp.ops.expressions import SumOver, Symbol, X, cos, dZ, sin
from torchbp.ops.places import Beside, Collect, Gather
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


def of_rows(parameter):
    """w or b (F, K), or (E, F, K) of an ensemble, in the dimensions of U (…, N, F, K)."""
    return parameter if parameter.dim() == 2 else parameter.unsqueeze(1)


def with_waves(x, weight):
    """The first F features, (…, F, 1)."""
    return x[..., : weight.shape[-2], None]


def angles(x, weight, bias):
    """U = X ∘ w + b, (…, F, K)."""
    return with_waves(x, weight) * of_rows(weight) + of_rows(bias)


def beside(x, waves):
    """[X, waves], of waves (…, F, K)."""
    return torch.cat([x, waves.reshape(*waves.shape[:-2], waves.shape[-2] * waves.shape[-1])], -1)


def embedded(x, weight, bias):
    """Z = [X, cos U]."""
    return beside(x, angles(x, weight, bias).cos())


def angle_gradient(dz, sin):
    """dU = −sin U ∘ dZ_U."""
    waves = sin.shape[-2] * sin.shape[-1]
    return -sin * dz[..., dz.shape[-1] - waves :].reshape(sin.shape)


def periodic_dx(dz, du, weight):
    """dX_nf = dZ_nf + Σ_k dU ∘ w; of a feature without waves dZ_nf."""
    features, (count, waves) = dz.shape[-1], du.shape[-2:]
    others = dz[..., count : features - count * waves]
    return torch.cat([dz[..., :count] + (du * of_rows(weight)).sum(-1), others], -1)


def sum_of_rows(each, ensemble):
    """Σ_n: of an ensemble for each member."""
    return each.sum(1) if ensemble else each.sum(tuple(range(each.dim() - 2))) if each.dim() > 2 else each


class PeriodicEmbedding(VmappableFunction):
    """Z = [X, cos(X ∘ w + b)]: X (…, M), w and b (F, K), Z (…, M + F K); of an ensemble (E, N, M) and (E, F, K)."""

    @staticmethod
    def forward(x, weight, bias):
        return embedded(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, z):
        ctx.save_for_backward(*inputs)
        save_for_jvp(ctx, *inputs)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None
        x, weight, bias = ctx.saved_tensors
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad
        du, ensemble = angle_gradient(dz, angles(x, weight, bias).sin()), weight.dim() == 3
        dx = periodic_dx(dz, du, weight) if needs_dx else None
        dweight = sum_of_rows(du * with_waves(x, weight), ensemble) if needs_dweight else None
        return dx, dweight, sum_of_rows(du, ensemble) if needs_dbias else None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t):
        x, weight, bias = ctx.saved_tensors
        u_t = with_waves(x_t, weight) * of_rows(weight) + with_waves(x, weight) * of_rows(weight_t) + of_rows(bias_t)
        return beside(x_t, -angles(x, weight, bias).sin() * u_t)


apply_periodic_embedding = operation(PeriodicEmbedding, embedded)


def periodic_embedding(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    r"""The features, and cosines of the first ones, `Z = [X, cos(X ∘ w + b)]` (equations at the top of this file).

    Args:
        input: X, shape `(…, in_features)`, any strides; floating, real. Of an ensemble `(N, in_features)`, rows that
            all members share, or `(E, N, in_features)`.
        weight, bias: w, the frequencies times 2π, and b, the phases, both `(F, K)`, K waves of each of the first F
            features, or of an ensemble `(E, F, K)`; the dtype of `input`.

    Returns:
        Z, shape `(…, in_features + F K)`: X, then the waves of the first feature, those of the second, ….

    Raises:
        RuntimeError: shapes that do not fit.

    Example:
        >>> x, weight = torch.tensor([[0.5]]), torch.tensor([[0.0, 2.0]])
        >>> z = torchbp.ops.periodic_embedding(x, weight, torch.zeros(1, 2))  # tensor([[0.5000, 1.0000, 0.5403]])
    """
    fits = weight.dim() in (2, 3) and weight.shape == bias.shape and input.dim() > 0
    if not fits or input.shape[-1] < weight.shape[-2]:
        raise RuntimeError(
            f"input, weight and bias have the shapes {tuple(input.shape)}, {tuple(weight.shape)} and "
            f"{tuple(bias.shape)}; give (…, in_features), and twice (F, waves) with F of in_features at most"
        )
    if weight.dim() == 3:
        if input.dim() == 2:
            input = input.expand(len(weight), -1, -1)  # autograd adds up the members' dX
        elif input.dim() != 3 or len(input) != len(weight):
            raise RuntimeError(
                f"input has the shape {tuple(input.shape)}; give (N, in_features), or ({len(weight)}, N, in_features) "
                "with the rows of each member"
            )
    return apply_periodic_embedding(input, weight, bias)


def _forward(x, weight, bias):
    u = angles(x, weight, bias)
    return beside(x, u.cos()), (with_waves(x, weight), u.sin(), weight.dim() == 3)


def _backward(dz, saved, weight, bias):
    _, sin, _ = saved
    return periodic_dx(dz, angle_gradient(dz, sin), weight)


def _dweight(dz, saved):
    x, sin, ensemble = saved
    return sum_of_rows(angle_gradient(dz, sin) * x, ensemble)


def _dbias(dz, saved):
    _, sin, ensemble = saved
    return sum_of_rows(angle_gradient(dz, sin), ensemble)


ONE = {"X": (1,), "w": (1, 1), "b": (1, 1)}
U, DU, W, B = map(Symbol, ("U", "dU", "w", "b"))


def _feature_of_waves(shapes):
    """For each wave, the number of its feature."""
    features, waves = shapes["w"]
    return tuple(feature for feature in range(features) for _ in range(waves))


def _in_a_row(parameter, shapes):
    count = math.prod(shapes["w"])
    return Gather(parameter, tuple(range(count)), (count,))


def _of_waves(tree, shapes):
    """Σ_n of numbers of each wave, in the shape of w."""
    return Gather(SumOver(tree, rows=True), tuple(range(math.prod(shapes["w"]))), tuple(shapes["w"]))


def _parts(shapes=ONE):
    angle = Gather(X, _feature_of_waves(shapes)) * _in_a_row(W, shapes) + _in_a_row(B, shapes)
    return {"U": (angle, "The angle of each wave: a feature times each of its frequencies, and the phase.")}


def _backward_parts(shapes=ONE):
    (features,), count = shapes["X"], math.prod(shapes["w"])
    waves = Gather(dZ, tuple(range(features, features + count)), name="waves")
    return {"dU": (-(sin(U) * waves), "Chain rule: the slope of a cosine is minus the sine.")}


def _equation(shapes=ONE):
    return Beside(X, cos(U))


def _backward_equation(shapes=ONE):
    features = shapes["X"][0]
    alone = Gather(dZ, tuple(range(features)), name="numbers")
    return alone + Collect(DU * _in_a_row(W, shapes), _feature_of_waves(shapes), (features,))


def _dweight_equation(shapes=ONE):
    return _of_waves(DU * Gather(X, _feature_of_waves(shapes)), shapes)


def _dbias_equation(shapes=ONE):
    return _of_waves(DU, shapes)


RULE = register(
    Layer(
        name="periodic_embedding",
        apply=periodic_embedding,
        forward=_forward,
        backward=_backward,
        saves="returned",
        new_memory=True,
        parameters=(
            Parameter(
                "weight",
                "w",
                gradient=_dweight,
                equation=_dweight_equation,
                why="a frequency multiplies its feature, so that is the factor",
            ),
            Parameter("bias", "b", gradient=_dbias, equation=_dbias_equation, why="a phase is added to the angle"),
        ),
        parts=_parts,
        backward_parts=_backward_parts,
        equation=_equation,
        backward_equation=_backward_equation,
        backward_why="each {x} passes as it is, and it moves the angles of its waves",
        description="Each number passes, and beside it stand its cosines at several frequencies, which are learnt.",
    )
)
