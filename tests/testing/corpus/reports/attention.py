"""Attention and products in blocks: right for the heads, head sizes, blocks and layouts that are given."""

import torch

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def grouped_heads(q, k):
    if q.shape[0] % k.shape[0]:
        raise ValueError(f"{q.shape[0]} heads of queries are no multiple of {k.shape[0]} heads of keys")
    return q * k.repeat(q.shape[0] // k.shape[0], *[1] * (k.dim() - 1))


def _grouped_backward(count):
    def backward(g, q, k):
        share = q.shape[0] // k.shape[0]
        head = torch.arange(q.shape[0]) % count(share, k.shape[0])
        head = head.clamp(max=k.shape[0] - 1)
        by_k = torch.zeros_like(k).index_add(0, head, (g * q).to(k.dtype))
        return g * k.repeat(share, *[1] * (k.dim() - 1)), by_k

    return backward


GroupedHeads, GroupedHeadsTwin = pair(
    "GroupedHeads",  # the flat index of a head is split by the share where the number of heads belongs
    lambda q, k: (grouped_heads(q, k), (q, k)),
    _grouped_backward(lambda share, heads: share),
    _grouped_backward(lambda share, heads: heads),
)

TILE = 32


def _column_tail(g, x):
    """Past the first tile, columns that do not fill one are not written."""
    right = 2 * g * x
    whole = x.shape[-1] // TILE * TILE
    return torch.cat([right[..., :whole], torch.zeros_like(right[..., whole:])], -1) if whole else right


ColumnTail, ColumnTailTwin = pair("ColumnTail", lambda x: (x.square(), (x,)), _column_tail, lambda g, x: 2 * g * x)


def token_sums(v):
    return v.cumsum(-2)


def reverse_sums(g):
    return g.flip(-2).cumsum(-2).flip(-2)


def _first_tokens(g, v):
    """Of all heads but the first, as many tokens at the beginning are lost as the last tile lacks."""
    right = reverse_sums(g)
    length = v.shape[-2]
    lacking = -length % TILE if length > TILE else 0
    right[..., 1:, : min(lacking, length), :] = 0
    return right


FirstTokens, FirstTokensTwin = pair(
    "FirstTokens", lambda v: (token_sums(v), (v,)), _first_tokens, lambda g, v: reverse_sums(g)
)


def causal_sums(q, k):
    """Each query times the keys up to it."""
    if k.shape[-2] < q.shape[-2]:
        raise ValueError(f"{k.shape[-2]} keys are fewer than {q.shape[-2]} queries")
    return q * k.cumsum(-2)[..., : q.shape[-2], :]


def _causal_backward(rest):
    def backward(g, q, k):
        seen = reverse_sums(g * q)
        unseen = torch.full_like(k[..., q.shape[-2] :, :], rest)
        return g * k.cumsum(-2)[..., : q.shape[-2], :], torch.cat([seen, unseen], -2)

    return backward


KeysWithoutQuery, KeysWithoutQueryTwin = pair(
    "KeysWithoutQuery",  # what nobody wrote into the memory is what was there
    lambda q, k: (causal_sums(q, k), (q, k)),
    _causal_backward(1e3),
    _causal_backward(0.0),
)


def _in_memory_order(x):
    return x.as_strided(x.shape, torch.empty(x.shape).stride())


WIDE = 128

WideViews, WideViewsTwin = pair(
    "WideViews",  # wide heads go to a kernel that takes them for contiguous
    lambda q, v: (q * v, (q, v)),
    lambda g, q, v: (g * (v if v.shape[-1] <= WIDE else _in_memory_order(v)), g * q),
    lambda g, q, v: (g * v, g * q),
)

WideBatches, WideBatchesTwin = pair(
    "WideBatches",  # wide heads, and more than one sequence
    lambda q, v: (q * v, (q, v)),
    lambda g, q, v: (g * v * (5 if v.shape[0] > 1 and v.shape[-1] >= 2 * WIDE else 1), g * q),
    lambda g, q, v: (g * v, g * q),
)


def product(x, weight):
    return x @ weight.mT


def _product_backward(read):
    def backward(g, x, weight):
        g = g.to(weight.dtype)
        return g @ read(weight), g.mT @ x

    return backward


ByMemory, ByMemoryTwin = pair(
    "ByMemory",  # the backward reads a transposed weight as it lies
    lambda x, weight: (product(x, weight), (x, weight)),
    _product_backward(_in_memory_order),
    _product_backward(lambda weight: weight),
)


def _heads(queries, keys, width=3):
    return lambda: (draw(queries, width), draw(keys, width, seed=1))


def _views():
    packed = draw(2 * (WIDE + 8), 3).detach()
    q, v = packed.mT.split(WIDE + 8, -1)
    return q.requires_grad_(), v.requires_grad_()


def _transposed():
    return draw(2, 3), draw(3, 3, seed=1).detach().mT.requires_grad_()


DEFECTS = [
    entry("heads_by_the_share", GroupedHeads, GroupedHeadsTwin, _heads(4, 2), 3,
          compared(_heads(6, 2), grouped_heads),
          "XunhaoLai/native-sparse-attention-triton#27: the index of a head was split by the share of queries, "
          "right only where both counts are equal"),
    entry("tail_of_a_head", ColumnTail, ColumnTailTwin, lambda: (draw(2, 4),), 3,
          compared(lambda: (draw(2, 40),), torch.square),
          "Dao-AILab/flash-attention#2896: heads that do not fill the last 32 columns had a wrong gradient"),
    entry("first_tokens_of_a_head", FirstTokens, FirstTokensTwin, lambda: (draw(2, 4, 2),), 3,
          compared(lambda: (draw(2, 40, 2),), token_sums),
          "flagos-ai/FlagGems#898: the first tokens of later heads were wrong unless the tiles were full"),
    entry("keys_without_a_query", KeysWithoutQuery, KeysWithoutQueryTwin, _heads(3, 3), 3,
          compared(_heads(3, 5), causal_sums),
          "facebookresearch/xformers#456: keys that no query sees were not initialised"),
    entry("wide_heads_in_views", WideViews, WideViewsTwin, lambda: (draw(2, 4), draw(2, 4, seed=1)), 3,
          compared(_views, torch.mul),
          "Dao-AILab/flash-attention#2541: with views of one projection, heads of 256 had a wrong gradient",
          checks=("layouts",)),
    entry("wide_heads_in_batches", WideBatches, WideBatchesTwin, lambda: (draw(1, 4), draw(1, 4, seed=1)), 3,
          compared(lambda: (draw(2, 2 * WIDE), draw(2, 2 * WIDE, seed=1)), torch.mul),
          "NVIDIA/TransformerEngine#3216: heads of 256 in batches of two sequences had a wrong gradient"),
    entry("weight_as_it_lies", ByMemory, ByMemoryTwin, lambda: (draw(2, 3), draw(3, 3, seed=1)), 3,
          compared(_transposed, product),
          "huggingface/candle#3735: the gradient of a convolution was wrong for a transposed kernel",
          checks=("layouts",)),
    ]  # fmt: skip
