"""The backward by rows as an operator of torch, which a compiler takes as it is. It would unroll the loop over rows;
and by the formulas with the whole matrix, a compiled program would save that matrix."""

import torch

from torchbp.ops.attention._rows import attention_backward_in_parts

library = torch.library.Library("torchbp", "FRAGMENT")
library.define(
    "attention_backward(Tensor do, Tensor q, Tensor k, Tensor? v, Tensor? mask, float factor, bool causal, "
    "float scale, bool[] needs) -> Tensor[]"
)


def run(do, q, k, v, mask, factor, causal, scale, needs):
    gradients = attention_backward_in_parts(do, q, k, v, mask, None, factor, causal, scale, needs)
    return [d.contiguous() for d in gradients if d is not None]


def describe(do, q, k, v, mask, factor, causal, scale, needs):
    """New tensors of the shapes that `run` returns."""
    of_v = q.new_empty(*k.shape[:-1], do.shape[-1]) if needs[2] else None
    made = ((q.new_empty(q.shape), k.new_empty(k.shape), of_v), needs[:3])
    gradients = [t for t, needed in zip(*made, strict=True) if needed]
    return [*gradients, mask.new_empty(mask.shape)] if needs[3] else gradients


library.impl("attention_backward", run, "CompositeExplicitAutograd")
torch.library.register_fake("torchbp::attention_backward", describe, lib=library)


def attention_backward_as_operator(do, q, k, v, mask, kept, factor, causal, scale, needs):
    """dQ, dK, dV and dmask, each None where `needs` does not ask for it."""
    needs = list(needs)
    gradients = iter(torch.ops.torchbp.attention_backward(do, q, k, v, mask, factor, causal, scale, needs))
    return tuple(next(gradients) if needed else None for needed in needs)
