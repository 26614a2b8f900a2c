"""Forward under autocast, backward outside of it."""

import torch

from tests.testing.corpus.entry import Defect, draw, raised
from tests.testing.corpus.products import Multiply


class MultiplyAsSaved(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.t() @ x


def routed(x, weight):
    """The first two rows through the weight, the others 0."""
    rows = torch.arange(min(2, x.shape[0]), device=x.device)
    return torch.zeros_like(x).index_put((rows,), (x[rows] @ weight).to(x.dtype))


def routed_as_computed(x, weight):
    rows = torch.arange(min(2, x.shape[0]), device=x.device)
    return torch.zeros_like(x).index_put((rows,), x[rows] @ weight)


def under_autocast(subject):
    call = subject.apply if isinstance(subject, type) else subject
    x, weight = draw(3, 3, dtype=torch.float32), draw(3, 3, seed=1, dtype=torch.float32)

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = call(x, weight)
        y.sum().backward()

    return raised(step), "nothing"


DEFECTS = [
    # a gradient in bfloat16 meets a weight saved in float32
    Defect(
        "autocast_backward_mismatch",
        MultiplyAsSaved,
        lambda: (draw(2, 3), draw(4, 3, seed=1)),
        twin=Multiply,
        checks=("autocast",),
        kind=10,
        shows=under_autocast,
        source="pytorch/ao#4616: a float32 weight saved under autocast met a bfloat16 gradient in the backward",
    ),
    # a product in bfloat16 is put into a tensor of float32
    Defect(
        "autocast_index_put_mismatch",
        routed_as_computed,
        lambda: (draw(3, 3), draw(3, 3, seed=1)),
        twin=routed,
        checks=("autocast",),
        kind=10,
        shows=under_autocast,
        source="huggingface/transformers#47689: an indexed assignment met two dtypes under autocast and raised",
    ),
]
