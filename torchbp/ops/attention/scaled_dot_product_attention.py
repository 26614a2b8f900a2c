"""Scaled dot-product attention: each row of O is a mean of V's rows, weighted by softmax of q's products with K's rows.

    forward     S  = scale Q Kᵀ + mask      P  = softmax(S)          O  = P V
    backward    dV = Pᵀ dO                  dP = dO Vᵀ               D  = Σ_j P∘dP
                dS = P∘(dP − D)             dQ = scale dS K          dK = scale dSᵀ Q      dmask = dS
    tangent     Ṡ  = scale (Q̇ Kᵀ + Q K̇ᵀ) + ṁask      Ṗ = P∘(Ṡ − Σ_j P∘Ṡ)      Ȯ = Ṗ V + P V̇

The softmax and the sums run over a row of S. Backward saves Q, K and V alone and computes P again, some rows at a time
(`_rows.py`): P itself, of all rows by all keys, is never in memory at once. Where the backward is itself
differentiated, under torch.func's transforms, and in a compiled program with dropout or on a GPU, the formulas here
compute with the whole matrix. Dropout multiplies P in P V, and dP, by kept/(1 − p); `kept`, one byte an element, is
saved. A row whose every key is masked has P = 0, and so O = 0 and no gradient.

There is a shorter way: D = Σ dO∘O, since Σ_j P_j (dO·v_j) = dO·O, and P = exp(S − lse), with the forward's
lse = ln Σ_j exp(S) (FlashAttention, arXiv 2205.14135). It is less accurate. The P of the backward then does not sum to
1 exactly: S is rounded twice, and an error of S is a relative error of P. With keys of about 10⁴ in float32, dQ had an
error of 1.4, where it has 1e-3 by the formulas above. Their mean error is half of that of torch's kernel.
"""

import math

import torch
import torch.nn.functional as F
from torch.compiler import is_dynamo_compiling

from torchbp.ops._dispatch import (
    VmappableFunction,
    dispatch_includes,
    is_differentiated,
    lower_precision,
    operation,
    save_for_jvp,
    transforms_active,
    widened,
)
from torchbp.ops.attention._operator import attention_backward_as_operator
from torchbp.ops.attention._rows import (
    attention_backward_in_parts,
    attention_by_flash,
    attention_in_parts,
    fits_flash,
)
from torchbp.ops.attention._shapes import as_heads_of, checked, checked_mask, heads_summed
from torchbp.ops.registry import register
from torchbp.ops.rules import Operation

VMAP_MODE = torch._C._parse_dispatch_key("VmapMode")  # of the older vmap, behind `is_grads_batched`


class ScaledDotProductAttention(VmappableFunction):
    """O, and with dropout what it keeps: Q (…, Hq, L, E), K (…, H, S, E), V (…, H, S, Ev); the mask broadcasts."""

    @staticmethod
    def forward(q, k, v, mask, dropout_p, causal, scale):
        kept = draw_kept(q, k, dropout_p) if dropout_p > 0 else None
        factor = dropout_factor(dropout_p)
        if is_compiled_alone() and kept is None and fits_flash(q, k, v, causal, scale):
            out = attention_by_flash(q, k, v, mask, causal, scale)
        elif needs_whole_matrix():
            out = attention(q, k, v, mask, kept, factor, causal, scale)
        else:
            out = attention_in_parts(q, k, v, mask, kept, factor, causal, scale)
        return (out,) if kept is None else (out, kept)

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        q, k, v, mask, dropout_p, ctx.causal, ctx.scale = inputs
        ctx.factor, ctx.dropout = dropout_factor(dropout_p), dropout_p > 0
        _, *kept = outputs
        ctx.mark_non_differentiable(*kept)
        kept = kept[0] if kept else None
        needs_dq, needs_dk, _, needs_dmask, *_ = ctx.needs_input_grad
        needs_ds = needs_dq or needs_dk or needs_dmask
        ctx.save_for_backward(q, k, v if needs_ds else None, mask, kept)
        save_for_jvp(ctx, q, k, v, mask, kept)

    @staticmethod
    def backward(ctx, do, *_):
        if do is None:
            return (None,) * 7
        if is_compiled_alone() and do.device.type == "cpu" and not ctx.dropout:
            formulas = attention_backward_as_operator
        elif is_differentiated() or needs_whole_matrix():
            formulas = attention_backward
        else:
            formulas = attention_backward_in_parts
        constants = ctx.factor, ctx.causal, ctx.scale
        return *formulas(do, *ctx.saved_tensors, *constants, ctx.needs_input_grad[:4]), None, None, None

    @staticmethod
    def jvp(ctx, q_t, k_t, v_t, mask_t, *_):
        q, k, v, mask, kept = ctx.saved_tensors
        k, v, k_t, v_t = (as_heads_of(q, t) for t in (k, v, k_t, v_t))
        p = probabilities(q, k, mask, ctx.causal, ctx.scale)
        s_t = (q_t @ k.mT + q @ k_t.mT) * ctx.scale
        if mask_t is not None and mask.dtype is not torch.bool:
            s_t = s_t + mask_t
        p_t = p * (s_t - (p * s_t).sum(-1, keepdim=True))
        if kept is None:
            return ((p_t @ v + p @ v_t).to(q.dtype),)
        dropped = kept * ctx.factor
        return ((p_t * dropped) @ v + (p * dropped) @ v_t).to(q.dtype), None


def attention(q, k, v, mask, kept, factor, causal, scale):
    """O = P V, by the whole matrix."""
    p = probabilities(q, as_heads_of(q, k), mask, causal, scale)
    return ((p if kept is None else p * kept * factor) @ as_heads_of(q, widened(v))).to(q.dtype)


def attention_backward(do, q, k, v, mask, kept, factor, causal, scale, needs):
    """dQ, dK, dV and dmask by the whole matrix; each may be differentiated."""
    in_dtype = q.dtype
    q, k_, do = widened(q), as_heads_of(q, widened(k)), widened(do)
    p = probabilities(q, k_, mask, causal, scale)
    dropped = None if kept is None else kept * factor
    dq = dk = dv = dmask = None
    if needs[2]:
        dv = heads_summed(attention_dv(do, p if kept is None else p * dropped), k).to(in_dtype)
    if needs[0] or needs[1] or needs[3]:
        dp = attention_dp(do, as_heads_of(q, widened(v)))
        ds = attention_ds(dp if kept is None else dp * dropped, p)
        if needs[0]:
            dq = attention_dq(ds, k_, scale).to(in_dtype)
        if needs[1]:
            dk = heads_summed(attention_dk(ds, q, scale), k).to(in_dtype)
        if needs[3]:
            dmask = ds.sum_to_size(mask.shape).to(mask.dtype)
    return dq, dk, dv, dmask


def scores(q, k, mask=None, causal=False, scale=1.0):
    """S = scale Q Kᵀ + mask, with −∞ where the mask is False or, if causal, where a key comes after its query."""
    s = (q * scale) @ k.mT
    if causal:
        s = s.masked_fill(later_keys(q, k), -math.inf)
    if mask is not None:
        s = s.masked_fill(mask.logical_not(), -math.inf) if mask.dtype is torch.bool else s + mask
    return s


def later_keys(q, k):
    """(L, S), True where a key comes after its query."""
    rows, columns = (torch.arange(t.shape[-2], device=t.device) for t in (q, k))
    return columns > rows.unsqueeze(-1)


def probabilities(q, k, mask=None, causal=False, scale=1.0):
    """P = softmax(S), and 0 in a row whose every key is masked."""
    s = scores(widened(q), widened(k), mask, causal, scale)
    if mask is None or s.shape[-1] == 0:
        return torch.softmax(s, -1)
    sees_no_key = s.amax(-1, keepdim=True) == -math.inf
    return torch.softmax(s.masked_fill(sees_no_key, 0.0), -1).masked_fill(sees_no_key, 0.0)


def attention_dv(do, p):
    """dV = Pᵀ dO."""
    return p.mT @ do


def attention_dp(do, v):
    """dP = dO Vᵀ."""
    return do @ v.mT


def attention_ds(dp, p):
    """dS = P∘(dP − D) with D = Σ_j P∘dP, the gradient of softmax."""
    d = (p * dp).sum(-1, keepdim=True)
    return p * (dp - d)


def attention_dq(ds, k, scale):
    """dQ = scale dS K."""
    return (ds @ k) * scale


def attention_dk(ds, q, scale):
    """dK = scale dSᵀ Q."""
    return (ds.mT @ q) * scale


def is_compiled_alone():
    """Whether a compiler traces this, and torch.func transforms it not as well: an operator has no rule for these."""
    return is_dynamo_compiling() and not transforms_active()


def needs_whole_matrix():
    """Whether the formulas compute with the whole matrix: parts of it are written in place, which a transform cannot
    map, and a compiler would unroll the loop over them."""
    if is_dynamo_compiling() or torch.compiler.is_compiling():  # first: dynamo cannot trace what is below
        return True
    return transforms_active() or dispatch_includes(VMAP_MODE)


def draw_kept(q, k, p):
    """What dropout keeps of P: as torch's own draws it for P, from torch's random stream."""
    like = (q[..., :1] @ k[..., :1].mT) if transforms_active() else None  # of a batch, where q or k is one
    shape = *q.shape[:-1], k.shape[-2]
    kept = torch.empty(shape, dtype=torch.bool, device=q.device) if like is None else torch.empty_like(like).bool()
    return kept.fill_(False) if p == 1 else kept.bernoulli_(1 - p)


def dropout_factor(p):
    return 0.0 if p == 1 else 1 / (1 - p)


def _by_torch(q, k, v, mask, dropout_p, causal, scale):
    grouped = q.dim() > 2 and q.shape[-3] != k.shape[-3]
    return (F.scaled_dot_product_attention(q, k, v, mask, dropout_p, causal, scale=scale, enable_gqa=grouped),)


apply_scaled_dot_product_attention = operation(ScaledDotProductAttention, _by_torch, lower_precision)


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    r"""Attention, `O = softmax(scale Q Kᵀ + mask) V` (equations at the top of this file).

    Args:
        query: Q, shape `(…, Hq, L, E)`, or `(L, E)`; floating.
        key: K, shape `(…, H, S, E)`, the dtype of `query`.
        value: V, shape `(…, H, S, Ev)`, the dtype of `query`.
        attn_mask: broadcastable to `(…, Hq, L, S)`: boolean, True where a query may see a key; or numbers that are
            added to S, in the dtype of `query` or float32, which may require a gradient.
        dropout_p: the probability that an element of softmax is set to 0; always applied, in evaluation too.
        is_causal: query i sees keys 0 to i; with `attn_mask`, both hold.
        scale: what products are multiplied by; `1/√E` where it is None.
        enable_gqa: Hq may be a multiple of H; each head of K and V is then shared by Hq/H heads of Q.

    Returns:
        O, shape `(…, Hq, L, Ev)`, the dtype of `query`; 0 in a row that sees no key.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, or a `dropout_p` outside [0, 1].

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 5, 8)
        >>> torchbp.ops.scaled_dot_product_attention(q, k, v, is_causal=True).shape  # (2, 4, 5, 8)
    """
    q, k, v = checked(query, key, value, enable_gqa)
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout_p={dropout_p} is no probability; use a number from 0 to 1")
    if attn_mask is not None:
        attn_mask = checked_mask(attn_mask, q, k)
    if attn_mask is not None and is_causal:
        hidden = False if attn_mask.dtype is torch.bool else -math.inf
        attn_mask, is_causal = attn_mask.masked_fill(later_keys(q, k), hidden), False
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] > 0 else 1.0
    return apply_scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, scale)[0]


RULE = register(
    Operation(
        name="scaled_dot_product_attention",
        apply=scaled_dot_product_attention,
        torch_functions={F.scaled_dot_product_attention: scaled_dot_product_attention},
    )
)
