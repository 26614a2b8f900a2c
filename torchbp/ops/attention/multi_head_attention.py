"""Multi-head attention: H attentions side by side, each of its own part of the projected features.

    forward     Q = X_q W_qᵀ + b_q      K = X_k W_kᵀ + b_k      V = X_v W_vᵀ + b_v
                S = Q Kᵀ / √(E/H) + mask      P = softmax(S)      O = P V, in each head
                Z = [O_1 … O_H] W_oᵀ + b_o
    backward    dO = dZ W_o      dV = Pᵀ dO      dP = dO Vᵀ      dS = P∘(dP − Σ_j P∘dP)
                dQ = dS K / √(E/H)      dK = dSᵀ Q / √(E/H)
                dX_q = dQ W_q      dX_k = dK W_k      dX_v = dV W_v
                dW = dQᵀ X_q, dKᵀ X_k, dVᵀ X_v      db = Σ_n of dQ, dK, dV      dW_o = dZᵀ O

No formula is here: the projections are `linear`, and each head is `scaled_dot_product_attention`, or two products with
`softmax` and `dropout` where P is asked for. Each of these has its own backward, and autograd runs them in turn.
"""

import math
import warnings

import torch
import torch.nn.functional as F

from torchbp.ops.attention.scaled_dot_product_attention import scaled_dot_product_attention
from torchbp.ops.layers.addmm import baddbmm
from torchbp.ops.layers.dropout import dropout
from torchbp.ops.layers.linear import linear
from torchbp.ops.layers.matmul import matmul
from torchbp.ops.layers.softmax import softmax
from torchbp.ops.registry import register
from torchbp.ops.rules import Operation


def multi_head_attention_forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: torch.Tensor | None,
    in_proj_bias: torch.Tensor | None,
    bias_k: torch.Tensor | None,
    bias_v: torch.Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: torch.Tensor,
    out_proj_bias: torch.Tensor | None,
    training: bool = True,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: torch.Tensor | None = None,
    k_proj_weight: torch.Tensor | None = None,
    v_proj_weight: torch.Tensor | None = None,
    static_k: torch.Tensor | None = None,
    static_v: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    r"""What `torch.nn.MultiheadAttention` computes (equations at the top of this file).

    L queries, S keys, a batch of N, E features, H heads.

    Args:
        query, key, value: shapes `(L, N, E)`, `(S, N, E_k)`, `(S, N, E_v)`, or without N; floating, of one dtype.
        embed_dim_to_check: E. num_heads: H, which divides E.
        in_proj_weight: W_q, W_k and W_v, one under the other, `(3E, E)`; with `use_separate_proj_weight` they are
            `q_proj_weight` `(E, E)`, `k_proj_weight` `(E, E_k)` and `v_proj_weight` `(E, E_v)` instead.
        in_proj_bias: b_q, b_k and b_v, `(3E)`, or None.
        bias_k, bias_v: one more key and its value, `(1, 1, E)`, or both None.
        add_zero_attn: whether there is one more key, of zeros, whose value is zeros.
        dropout_p: the probability that an element of P is set to 0, if `training`.
        out_proj_weight, out_proj_bias: W_o, `(E, E)`, and b_o, `(E)`, or None.
        key_padding_mask: `(N, S)`, or `(S)` without N: True where nobody may see a key; or numbers, added to S.
        need_weights: whether P is returned too. Without it, no matrix of all queries by all keys is made.
        attn_mask: `(L, S)` or `(N H, L, S)`: True where a query may not see a key; or numbers, added to S.
        static_k, static_v: the keys and values of all heads, `(N H, S, E/H)`, in the place of the projected ones.
        average_attn_weights: whether the P that is returned is the mean of the heads.
        is_causal: a hint that `attn_mask`, which must be given, is the causal mask.

    Returns:
        Z, `(L, N, E)`, or `(L, E)`; and P after dropout, `(N, L, S)`, or of each head `(N, H, L, S)`, or without N; or
        None.

    Raises:
        AssertionError, RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> x, w, w_o = torch.randn(5, 2, 8), torch.randn(24, 8), torch.randn(8, 8)
        >>> z, p = torchbp.ops.multi_head_attention_forward(x, x, x, 8, 4, w, None, None, None, False, 0.0, w_o, None)
        >>> z.shape, p.shape  # (5, 2, 8), (2, 5, 5)
    """
    check_shapes(query, key, value, key_padding_mask, attn_mask, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "is_causal=True is a hint that attn_mask is causal, and attn_mask is None; give the mask too"
        )
    batched = query.dim() == 3
    if not batched:
        if query is key is value:
            query = key = value = query.unsqueeze(1)
        else:
            query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, rows, _ = query.shape
    check_masks(key_padding_mask, attn_mask, length, len(key), rows, num_heads)

    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = (each_head(t, num_heads) for t in projections(query, key, value, weights, in_proj_bias))
    k = k if static_k is None else static_keys("static_k", static_k, rows, num_heads, q)
    v = v if static_v is None else static_keys("static_v", static_v, rows, num_heads, q)

    hint = is_causal and key_padding_mask is None and not need_weights
    mask = None if hint else hidden_as_numbers("attn_mask", attn_mask, query.dtype)
    mask = mask.unflatten(0, (rows, num_heads)) if mask is not None and mask.dim() == 3 else mask
    padding = hidden_as_numbers("key_padding_mask", key_padding_mask, query.dtype)
    padding = None if padding is None else padding[:, None, None]

    if (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k and bias_v belong together: give both, or None for both")
    if bias_k is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias_k and bias_v cannot be added to static_k and static_v")
        k, v = (
            torch.cat([t, each_head(b, num_heads).expand(rows, -1, -1, -1)], 2) for t, b in ((k, bias_k), (v, bias_v))
        )
    if add_zero_attn:
        k, v = (F.pad(t, (0, 0, 0, 1)) for t in (k, v))
    more = (bias_k is not None) + add_zero_attn
    if more > 0:
        mask, padding = (None if t is None else F.pad(t, (0, more)) for t in (mask, padding))
    if padding is not None:
        mask = padding if mask is None else mask + padding

    p = dropout_p if training else 0.0
    if need_weights:
        o, weights = heads_by_weights(q, k, v, mask, p)
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        o, weights = scaled_dot_product_attention(q, k, v, mask, p, hint), None
    o = o.permute(2, 0, 1, 3).flatten(2)  # (L, N, E): the heads side by side
    z = linear(o if batched else o.squeeze(1), out_proj_weight, out_proj_bias)
    return z, weights if batched or weights is None else weights.squeeze(0)


def projections(query, key, value, weights, bias):
    """Q, K and V, by one product for those whose input is the same tensor."""
    of_q, of_k, of_v = (None,) * 3 if bias is None else bias.chunk(3)
    if isinstance(weights, tuple):
        return linear(query, weights[0], of_q), linear(key, weights[1], of_k), linear(value, weights[2], of_v)
    if key is not value:
        w_q, w_k, w_v = weights.chunk(3)
        return linear(query, w_q, of_q), linear(key, w_k, of_k), linear(value, w_v, of_v)
    if query is key:
        return linear(query, weights, bias).chunk(3, -1)
    size = query.shape[-1]
    w_q, w_kv = weights.split([size, 2 * size])
    return linear(query, w_q, of_q), *linear(key, w_kv, None if bias is None else bias[size:]).chunk(2, -1)


def heads_by_weights(q, k, v, mask, dropout_p):
    """O and P of each head, (N, H, L, E/H) and (N, H, L, S): the whole matrix, which the caller asks for."""
    heads, shape = q.shape[:2], (*q.shape[:3], k.shape[2])
    q, k, v = ((t.flatten(0, 1)) for t in (q * math.sqrt(1 / q.shape[3]), k, v))
    s = matmul(q, k.mT) if mask is None else baddbmm(mask.expand(shape).flatten(0, 1), q, k.mT)
    p = softmax(s, -1)
    p = dropout(p, dropout_p) if dropout_p > 0 else p
    return matmul(p, v).unflatten(0, heads), p.unflatten(0, heads)


def each_head(t, heads):
    """(S, N, E) as (N, H, S, E/H)."""
    return t.unflatten(2, (heads, -1)).permute(1, 2, 0, 3)


def static_keys(name, t, rows, heads, q):
    if t.shape[0] != rows * heads or t.shape[2] != q.shape[3]:
        raise AssertionError(f"{name} {list(t.shape)} must be [{rows * heads}, S, {q.shape[3]}], for {heads} heads")
    return t.unflatten(0, (rows, heads))


def hidden_as_numbers(name, mask, dtype):
    """The mask as numbers that are added to the scores: −∞ where a boolean one is True."""
    if mask is None or mask.is_floating_point():
        return mask
    if mask.dtype is not torch.bool:
        raise AssertionError(f"{name} is {mask.dtype}; it must be boolean or floating")
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)


def check_shapes(query, key, value, key_padding_mask, attn_mask, size, heads):
    dims = query.dim()
    described = f"query {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}"
    if dims not in (2, 3) or not dims == key.dim() == value.dim():
        raise AssertionError(f"{described}: they must be (L, N, E), (S, N, E), (S, N, E), or all without N")
    if query.shape[-1] != size or size % heads:
        raise AssertionError(f"{described}: query must have embed_dim={size} features, a multiple of num_heads={heads}")
    if key.shape[:-1] != value.shape[:-1]:
        raise AssertionError(f"{described}: key and value must be of the same length and batch")
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(f"key_padding_mask {list(key_padding_mask.shape)} must be (N, S), or (S) without N")
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(f"attn_mask {list(attn_mask.shape)} must be (L, S) or (N · num_heads, L, S)")


def check_masks(key_padding_mask, attn_mask, length, keys, rows, heads):
    if attn_mask is not None:
        fits = (length, keys) if attn_mask.dim() == 2 else (rows * heads, length, keys)
        if attn_mask.shape != fits:
            raise RuntimeError(f"attn_mask {list(attn_mask.shape)} must be {list(fits)}, for the queries and keys")
    if key_padding_mask is None:
        return
    if key_padding_mask.shape != (rows, keys):
        raise AssertionError(f"key_padding_mask {list(key_padding_mask.shape)} must be {[rows, keys]}, for the keys")
    if attn_mask is not None and attn_mask.dtype is not key_padding_mask.dtype:
        warnings.warn(
            f"key_padding_mask is {key_padding_mask.dtype} and attn_mask {attn_mask.dtype}; use one dtype for both",
            stacklevel=3,
        )


RULE = register(
    Operation(
        name="multi_head_attention",
        apply=multi_head_attention_forward,
        torch_module=torch.nn.MultiheadAttention,
        torch_functions={F.multi_head_attention_forward: multi_head_attention_forward},
    )
)
