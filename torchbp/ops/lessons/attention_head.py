"""One attention head as a layer whose rows are the words of one sentence: every quantity of it is a matrix.

    forward     Q  = X Wqᵀ      K = X Wkᵀ      V = X Wvᵀ
                S  = Q Kᵀ / √d      P = softmax(S), row by row      Z = P V
    backward    dP = dZ Vᵀ      dV = Pᵀ dZ      dS = P ∘ (dP − Σₖ dP ∘ P)
                dQ = dS K / √d      dK = dSᵀ Q / √d
                dWq = dQᵀ X     dWk = dKᵀ X     dWv = dVᵀ X     dX = dQ Wq + dK Wk + dV Wv

`torchbp explain --lesson attention` shows it with its numbers. The formulas are those of the operation,
`torchbp.ops.scaled_dot_product_attention`; of whole networks `torchbp.nn.MultiheadAttention` has many heads.
"""

import math

import torch
import torch.nn.functional as F

from torchbp.ops.attention.scaled_dot_product_attention import (
    attention_dk,
    attention_dp,
    attention_dq,
    attention_ds,
    attention_dv,
    probabilities,
    scaled_dot_product_attention,
)
from torchbp.ops.expressions import Number, SumOfRow, Symbol, X, dZ, exp, sqrt
from torchbp.ops.registry import attach
from torchbp.ops.rules import Layer, Parameter

Q, K, V, S, P, DQ, DK, DV, DS, DP = map(Symbol, ("Q", "K", "V", "S", "P", "dQ", "dK", "dV", "dS", "dP"))
QUERY, KEY, VALUE = map(Symbol, ("Wq", "Wk", "Wv"))


def attention_head(x: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Z = softmax(Q Kᵀ / √d) V: x (N, D), query and key (d, D), value (n, D), Z (N, n)."""
    return scaled_dot_product_attention(x @ query.T, x @ key.T, x @ value.T)


def _forward(x, query, key, value):
    if x.dim() != 2:
        raise ValueError("give the words of one sentence, (N, D)")
    q, k, v = x @ query.T, x @ key.T, x @ value.T
    p = probabilities(q, k, None, False, 1 / math.sqrt(len(query))).to(v.dtype)  # of half precision it is float32
    return p @ v, (x, q, k, v, p)


def _gradients(dz, saved):
    """dQ, dK and dV."""
    _, q, k, v, p = saved
    scale = 1 / math.sqrt(q.shape[1])
    ds = attention_ds(attention_dp(dz, v), p)
    return attention_dq(ds, k, scale), attention_dk(ds, q, scale), attention_dv(dz, p)


def _backward(dz, saved, query, key, value):
    dq, dk, dv = _gradients(dz, saved)
    return dq @ query + dk @ key + dv @ value


def _dweight(place):
    return lambda dz, saved: _gradients(dz, saved)[place].T @ saved[0]


def _root(shapes):
    return sqrt(Number(shapes["Wq"][0]))


SHAPES = {"Wq": (1, 1)}


def _parts(shapes=SHAPES):
    return {
        "Q": (X @ QUERY.T, "The query of each word: what it looks for."),
        "K": (X @ KEY.T, "The key of each word: what it offers to be found by."),
        "V": (X @ VALUE.T, "The value of each word: what it gives to those that look at it."),
        "S": ((Q @ K.T) / _root(shapes), "How well each word's query fits each word's key."),
        "P": (exp(S) / SumOfRow(exp(S)), "How much each word looks at each: positive, and in a row the sum is 1."),
    }


def _backward_parts(shapes=SHAPES):
    return {
        "dP": (dZ @ V.T, "Chain rule: a share multiplies a value, so its factor is the value."),
        "dV": (P.T @ dZ, "Chain rule: a value was multiplied by the shares of all that looked at it; they add up."),
        "dS": (P * (DP - SumOfRow(DP * P)), "Chain rule of softmax: the shares of a row have one sum."),
        "dQ": ((DS @ K) / _root(shapes), "Chain rule: a query was multiplied by every key."),
        "dK": ((DS.T @ Q) / _root(shapes), "Chain rule: a key was multiplied by every query."),
    }


class AttentionHead(torch.nn.Module):
    """One head of d numbers for words of D numbers: x (N, D), the words of one sentence, becomes (N, d)."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.features, self.size = features, size
        self.query, self.key, self.value = (
            torch.nn.Parameter(torch.randn(size, features) / math.sqrt(features)) for _ in range(3)
        )

    def extra_repr(self) -> str:
        return f"{self.features}, {self.size}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """By torch's operation, which `explain` compares the equations with."""
        return F.scaled_dot_product_attention(x @ self.query.T, x @ self.key.T, x @ self.value.T)


WHY = "each weight multiplied a number of {x} in each row"
RULE = Layer(
    name="attention head",
    apply=attention_head,
    forward=_forward,
    backward=_backward,
    saves="returned",
    new_memory=True,
    parameters=(
        Parameter("query", "Wq", gradient=_dweight(0), equation=DQ.T @ X, why=WHY),
        Parameter("key", "Wk", gradient=_dweight(1), equation=DK.T @ X, why=WHY),
        Parameter("value", "Wv", gradient=_dweight(2), equation=DV.T @ X, why=WHY),
    ),
    parts=_parts,
    backward_parts=_backward_parts,
    equation=P @ V,
    backward_equation=DQ @ QUERY + DK @ KEY + DV @ VALUE,
    backward_why="each word went into a query, a key and a value, and all three bring a part back",
    description="Each word takes a mean of the values of all words, weighted by how much it looks at each.",
)
attach(RULE, AttentionHead)
