"""Scaled dot-product attention: each row of O is a mean of V's rows, weighted by softmax of q's products with K's rows.

    forward     S  = scale Q Kᵀ + mask      lse = ln Σ_j exp(S)      P = exp(S − lse)      O = P V
    backward    dV = Pᵀ dO                  dP  = dO Vᵀ              D = Σ dO∘O
                dS = P∘(dP − D)             dQ  = scale dS K         dK = scale dSᵀ Q      dmask = dS
    tangent     Ṡ  = scale (Q̇ Kᵀ + Q K̇ᵀ) + ṁask      lsė = Σ_j P∘Ṡ      Ȯ = (P∘(Ṡ − lsė)) V + P V̇

The sums run over a row. P = softmax(S) is a row of S without its sum: D is what softmax's own backward, Σ P∘dP, is,
since Σ_j P_j (dO·v_j) = dO·O. So backward needs Q, K, V, O and lse, a number for each row, and computes P again, in
blocks that fit into the cache (`_blocks.py`); P itself, of all rows by all keys, is never in memory at once. Where the
backward is itself differentiated, under torch.func's transforms and in a compiled program, the formulas here compute
with the whole matrix. Dropout multiplies P in P V, and dP, by kept/(1 − p); `kept`, one byte an element, is saved.
A row whose every key is masked has O = 0 and no gradient; its lse is set to 0, so that P = exp(−∞ − 0) = 0.
"""

import math

import torch
import torch.nn.functional as F
from torch.compiler import is_dynamo_compiling

from torchbp.ops._dispatch import (
    VmappableFunction,
    dispatch_includes,
    lower_precision,
    operation,
    save_for_jvp,
    transforms_active,
)
from torchbp.ops.attention._blocks import CACHED, attention_backward_in_blocks, attention_in_blocks
from torchbp.ops.registry import register
from torchbp.ops.rules import Operation

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default  # O and lse, in blocks, in one kernel
VMAP_MODE = torch._C._parse_dispatch_key("VmapMode")  # of the older vmap, behind `is_grads_batched`


class ScaledDotProductAttention(VmappableFunction):
    """O, lse and with dropout what it keeps: Q (…, Hq, L, E), K (…, H, S, E), V (…, H, S, Ev), the mask broadcasts."""

    @staticmethod
    def forward(q, k, v, mask, dropout_p, causal, scale):
        kept = draw_kept(q, k, dropout_p) if dropout_p > 0 else None
        factor = dropout_factor(dropout_p)
        if whole():
            out, lse = attention(q, k, v, mask, kept, factor, causal, scale)
        else:
            q4, k4, v4 = folded(q), folded(k), folded(v)
            if kept is None and fits_flash(q4, k4, v4):
                if mask is not None and mask.dtype is torch.bool:
                    mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask.logical_not(), -math.inf)
                out, lse = flash(q4, k4, v4, 0.0, causal, attn_mask=folded_mask(mask, q, k), scale=scale)
            else:
                fold = folding(q, k)
                masks = folded_mask(mask, q, k, fold), None if kept is None else fold(kept)
                out, lse = attention_in_blocks(fold(q), fold(k), fold(v), *masks, factor, causal, scale)
            if lse.shape != q.shape[:-1]:  # detached it is the same memory, and no view, which nobody may write into
                out, lse = out.reshape(*q.shape[:-1], v.shape[-1]).detach(), lse.reshape(q.shape[:-1]).detach()
        return (out, lse) if kept is None else (out, lse, kept)

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        q, k, v, mask, dropout_p, ctx.causal, ctx.scale = inputs
        ctx.factor = dropout_factor(dropout_p)
        out, lse, *kept = outputs
        ctx.mark_non_differentiable(*kept)
        kept = kept[0] if kept else None
        needs_dq, needs_dk, _, needs_dmask, *_ = ctx.needs_input_grad
        of_ds = (v, out) if needs_dq or needs_dk or needs_dmask else (None, None)  # dV alone needs neither
        ctx.save_for_backward(q, k, of_ds[0], mask, of_ds[1], lse, kept)
        save_for_jvp(ctx, q, k, v, mask, out, lse, kept)

    @staticmethod
    def backward(ctx, do, dlse, *_):
        q, k, v, mask, out, lse, kept = ctx.saved_tensors
        if do is None:  # lse has a gradient of its own where a second derivative goes through it
            if dlse is None or out is None:
                return (None,) * 7
            do = torch.zeros_like(out)
        needs = ctx.needs_input_grad[:4]
        constants = ctx.factor, ctx.causal, ctx.scale
        if torch.is_grad_enabled() or whole():
            gradients = attention_backward(do, dlse, q, k, v, mask, kept, out, lse, *constants, needs)
            return *gradients, None, None, None
        shape = mask_shape(mask, q, k) if needs[3] else None
        fold = folded if needs[3] else folding(q, k)
        tensors = (None if t is None else fold(t) for t in (q, k, v))
        masks = folded_mask(mask, q, k, fold), None if kept is None else fold(kept)
        rest = None if out is None else fold(out), folded_rows(lse, fold)
        dlse = None if dlse is None else folded_rows(dlse, fold)
        *gradients, dmask = attention_backward_in_blocks(
            fold(do), dlse, *tensors, *masks, *rest, *constants, needs[:3], shape
        )
        dq, dk, dv = (
            None if d is None else d.reshape(*t.shape[:-1], d.shape[-1])
            for d, t in zip(gradients, (q, k, k), strict=True)
        )
        if needs[3]:
            if q.dim() > 4:
                dmask = dmask.reshape(*q.shape[:-1], k.shape[-2])
            dmask = dmask.sum_to_size(mask.shape) if dmask.dim() > 4 else dmask.reshape(mask.shape)
            dmask = dmask.to(mask.dtype)
        return dq, dk, dv, dmask, None, None, None

    @staticmethod
    def jvp(ctx, q_t, k_t, v_t, mask_t, *_):
        q, k, v, mask, out, lse, kept = ctx.saved_tensors
        k, v, k_t, v_t = (as_heads_of(q, t) for t in (k, v, k_t, v_t))
        p = probabilities(q, k, mask, lse, ctx.causal, ctx.scale)
        s_t = (q_t @ k.mT + q @ k_t.mT) * ctx.scale
        if mask_t is not None and mask.dtype is not torch.bool:
            s_t = s_t + mask_t
        lse_t = (p * s_t).sum(-1)
        p_t = p * (s_t - lse_t.unsqueeze(-1))
        if kept is None:
            return (p_t @ v + p @ v_t).to(out.dtype), lse_t
        dropped = kept * ctx.factor
        return ((p_t * dropped) @ v + (p * dropped) @ v_t).to(out.dtype), lse_t, None


def attention(q, k, v, mask, kept, factor, causal, scale):
    """O = P V and lse = ln Σ exp(S), by the whole matrix."""
    in_dtype = q.dtype
    q, k, v = (in_float32(t) for t in (q, k, v))
    k, v = as_heads_of(q, k), as_heads_of(q, v)
    s = scores(q, k, mask, causal, scale)
    lse = torch.logsumexp(s, -1)
    lse = lse.masked_fill(lse == -math.inf, 0.0)
    p = torch.exp(s - lse.unsqueeze(-1))
    out = (p if kept is None else p * kept * factor) @ v
    return out.to(in_dtype), lse


def attention_backward(do, dlse, q, k, v, mask, kept, out, lse, factor, causal, scale, needs):
    """dQ, dK, dV and dmask by the whole matrix; each may be differentiated, by O and lse too."""
    in_dtype = q.dtype
    q, k_, do = (in_float32(t) for t in (q, k, do))
    k_ = as_heads_of(q, k_)
    p = probabilities(q, k_, mask, lse, causal, scale)
    dropped = None if kept is None else kept * factor
    dq = dk = dv = dmask = None
    if needs[2]:
        dv = heads_summed(attention_dv(do, p if kept is None else p * dropped), k).to(in_dtype)
    if needs[0] or needs[1] or needs[3]:
        dp = attention_dp(do, as_heads_of(q, in_float32(v)))
        ds = attention_ds(dp if kept is None else dp * dropped, p, attention_d(do, in_float32(out), dlse))
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
        rows, columns = (torch.arange(t.shape[-2], device=t.device) for t in (q, k))
        s = s.masked_fill(columns > rows.unsqueeze(-1), -math.inf)
    if mask is not None:
        s = s.masked_fill(mask.logical_not(), -math.inf) if mask.dtype is torch.bool else s + mask
    return s


def probabilities(q, k, mask, lse, causal=False, scale=1.0):
    """P = exp(S − lse)."""
    return torch.exp(scores(in_float32(q), in_float32(k), mask, causal, scale) - lse.unsqueeze(-1))


def attention_dv(do, p):
    """dV = Pᵀ dO."""
    return p.mT @ do


def attention_dp(do, v):
    """dP = dO Vᵀ."""
    return do @ v.mT


def attention_d(do, out, dlse=None):
    """D = Σ dO∘O, for each row; less the gradient of lse where that has one."""
    d = (do * out).sum(-1)
    return d if dlse is None else d - dlse


def attention_ds(dp, p, d):
    """dS = P∘(dP − D)."""
    return p * (dp - d.unsqueeze(-1))


def attention_dq(ds, k, scale):
    """dQ = scale dS K."""
    return (ds @ k) * scale


def attention_dk(ds, q, scale):
    """dK = scale dSᵀ Q."""
    return (ds.mT @ q) * scale


def whole():
    """Whether the formulas compute with the whole matrix: blocks are written in place, which a transform cannot map,
    and a compiler would unroll their loops."""
    if is_dynamo_compiling() or torch.compiler.is_compiling():  # first: dynamo cannot trace what is below
        return True
    return transforms_active() or dispatch_includes(VMAP_MODE)


def fits_flash(q, k, v):
    """Whether torch's kernel for the CPU computes this. It is a third faster than `attention_in_blocks`."""
    same = q.device.type == "cpu" and q.shape[3] == v.shape[3]
    return same and 0 not in q.shape and k.shape[2] > 0 and all(t.stride(3) == 1 for t in (q, k, v))


def draw_kept(q, k, p):
    """What dropout keeps of P: as torch's own draws it for P, from torch's random stream."""
    like = (q[..., :1] @ k[..., :1].mT) if transforms_active() else None  # of a batch, where q or k is one
    shape = *q.shape[:-1], k.shape[-2]
    kept = torch.empty(shape, dtype=torch.bool, device=q.device) if like is None else torch.empty_like(like).bool()
    return kept.fill_(False) if p == 1 else kept.bernoulli_(1 - p)


def dropout_factor(p):
    return 0.0 if p == 1 else 1 / (1 - p)


def in_float32(t):
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def as_heads_of(q, t):
    """K or V with a copy of each head for every head of Q that shares it."""
    return t if t.dim() < 3 or t.shape[-3] == q.shape[-3] else t.repeat_interleave(q.shape[-3] // t.shape[-3], -3)


def heads_summed(d, t):
    """The gradient of K or V, which `as_heads_of` has copied, with as many heads as t has."""
    return (
        d
        if d.dim() < 3 or d.shape[-3] == t.shape[-3]
        else d.reshape(*d.shape[:-3], t.shape[-3], -1, *d.shape[-2:]).sum(-3)
    )


def folded(t):
    """(…, H, L, E) in four dimensions."""
    if t.dim() == 4:
        return t
    return t[(None,) * (4 - t.dim())] if t.dim() < 4 else t.flatten(0, -4)


def in_one_batch(t):
    """(…, H, L, E) in four dimensions, with the heads of all batch entries in one."""
    return t.reshape(1, -1, *t.shape[-2:])


def folding(q, k):
    """How tensors get four dimensions. All scores that fit into one block become one, which is far fewer operations
    than a block for each batch entry."""
    scores = q.shape[:-1].numel() * k.shape[-2]
    return in_one_batch if q.dim() > 3 and 0 < scores <= CACHED else folded


def folded_rows(t, fold):
    """(…, H, L) in three dimensions."""
    return fold(t.unsqueeze(-1)).squeeze(-1)


def folded_mask(mask, q, k, fold=folded):
    return None if mask is None else fold(mask.expand(*q.shape[:-1], k.shape[-2]))


def mask_shape(mask, q, k):
    """The shape of the mask in four dimensions, with 1 where it is broadcast."""
    if q.dim() > 4:
        return *folded(q).shape[:3], k.shape[-2]
    return *(1,) * (4 - mask.dim()), *mask.shape


def checked(q, k, v, shared_heads):
    """Q, K and V with the same leading dimensions, the last of which, the heads, may be fewer in K and V if shared."""
    described = f"query {list(q.shape)}, key {list(k.shape)}, value {list(v.shape)}"
    if min(q.dim(), k.dim(), v.dim()) < 2:
        raise RuntimeError(f"{described}: each needs two dimensions or more, (…, heads, length, size)")
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise RuntimeError(f"query {q.dtype}, key {k.dtype}, value {v.dtype}: they must be of one floating dtype")
    if q.shape[-1] != k.shape[-1]:
        raise RuntimeError(f"{described}: the last dimensions of query and key differ, {q.shape[-1]} and {k.shape[-1]}")
    if k.shape[-2] != v.shape[-2]:
        raise RuntimeError(f"{described}: the numbers of keys and values differ, {k.shape[-2]} and {v.shape[-2]}")
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return q, k, v
    heads = 2
    if shared_heads:
        heads = 3
        if min(q.dim(), k.dim(), v.dim()) < 3:
            raise RuntimeError(f"{described}: with enable_gqa each needs a dimension of heads")
        if any(t.shape[-3] == 0 or q.shape[-3] % t.shape[-3] for t in (k, v)):
            raise RuntimeError(f"{described}: the heads of key and value must divide the {q.shape[-3]} of query")
        if k.shape[-3] != v.shape[-3]:
            k, v = as_heads_of(q, k), as_heads_of(q, v)
    try:
        leading = torch.broadcast_shapes(*(t.shape[:-heads] for t in (q, k, v)))
    except RuntimeError as error:
        raise RuntimeError(f"{described}: the leading dimensions do not broadcast: {error}") from None
    return (t.expand(*leading, *t.shape[-heads:]) for t in (q, k, v))


def checked_mask(mask, q, k):
    """The mask with at least two dimensions, if it broadcasts to the scores."""
    if mask.dtype not in (torch.bool, torch.float32, q.dtype):
        raise RuntimeError(f"attn_mask is {mask.dtype}; it must be boolean, float32 or {q.dtype}, the dtype of query")
    target = *q.shape[:-1], k.shape[-2]
    fits = mask.dim() <= len(target)
    if not fits or any(m not in (1, t) for m, t in zip(mask.shape[::-1], target[::-1], strict=False)):
        raise RuntimeError(f"attn_mask {list(mask.shape)} does not broadcast to the scores, {list(target)}")
    return mask if mask.dim() > 1 else mask.expand(1, max(mask.numel(), 1))


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
        rows, columns = (torch.arange(t.shape[-2], device=t.device) for t in (q, k))
        above = columns > rows.unsqueeze(-1)
        attn_mask, is_causal = (
            attn_mask.masked_fill(above, False if attn_mask.dtype is torch.bool else -math.inf),
            False,
        )
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
