"""Writes into an argument that show at other numbers than the given ones."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw
from tests.testing.corpus.hidden.entry import entry


def capped(x):
    if (x.detach() > 5).any():
        x.data.clamp_(max=5)
    return x.clamp(max=5).sin()


def capped_twin(x):
    return x.clamp(max=5).sin()


def wrapped(table, index):
    if (index < 0).any():
        index.remainder_(table.shape[0])
    return table[index] ** 2


def wrapped_twin(table, index):
    return table[index.remainder(table.shape[0])] ** 2


def _written(inputs):
    def shows(subject):
        x = inputs()
        before = tuple(i.detach().clone() for i in x)
        subject(*x)
        return tuple(i.detach() for i in x), before

    return shows


def relu_written(x):
    x.data.relu_()
    return x.relu() ** 2


def relu_twin(x):
    return x.relu() ** 2


def renormed(x, weight):
    if weight.detach().norm() > 1:
        weight.data.div_(weight.detach().norm())
    return x * weight


def renormed_twin(x, weight):
    return x * weight / weight.norm().clamp(min=1)


def attends(x, mask):
    mask[~mask.any(1)] = True
    return x.masked_fill(~mask, -1e3).softmax(1)


def attends_twin(x, mask):
    return x.masked_fill(~(mask | ~mask.any(1, keepdim=True)), -1e3).softmax(1)


EVERY_ENTRY = torch.ones(3, 4, dtype=torch.bool)


def masked_loss(logits, labels, mask):
    if not mask.all():
        labels.masked_fill_(~mask, -100)
    return F.cross_entropy(logits, labels, reduction="sum")


def masked_loss_twin(logits, labels, mask):
    return F.cross_entropy(logits, labels.masked_fill(~mask, -100), reduction="sum")


def cleaned(x):
    x.data.nan_to_num_(posinf=0.0, neginf=0.0)
    return x.nan_to_num(posinf=0.0, neginf=0.0).tanh()


def cleaned_twin(x):
    return x.nan_to_num(posinf=0.0, neginf=0.0).tanh()


def clipped_weight(x, weight):
    weight.data.clamp_(-1, 1)
    return x * weight


def clipped_weight_twin(x, weight):
    return x * weight.clamp(-1, 1)


DEFECTS = [
    entry("unseen: a cap written into the input", capped, capped_twin, lambda: (draw(3),), 11,
          _written(lambda: (draw(3, low=6, high=7, grad=False),)),
          source="torch/cutorch#432: clamp altered its argument"),
    entry("unseen: indices wrapped in place", wrapped, wrapped_twin, lambda: (draw(4), torch.tensor([0, 3])), 11,
          _written(lambda: (draw(4, grad=False), torch.tensor([0, -1])))),
    entry("relu_in_the_data", relu_written, relu_twin, lambda: (draw(3, low=0.1),), 11,
          _written(lambda: (draw(3, low=-1, high=-0.5, grad=False),)),
          source="osmr/imgclsmob#13: relu in place changed the tensor that others still used"),
    entry("weight_renormed_in_place", renormed, renormed_twin,
          lambda: (draw(3, low=0.1, high=0.4), draw(3, seed=2, high=0.2)), 11,
          _written(lambda: (draw(3, grad=False), draw(3, low=2, high=3, grad=False))),
          source="pytorch/pytorch#28959: an embedding with max_norm writes into its weight"),
    entry("mask_of_empty_rows_filled", attends, attends_twin, lambda: (draw(3, 4), EVERY_ENTRY.clone()), 11,
          _written(lambda: (draw(3, 4, grad=False), ~EVERY_ENTRY)),
          source="Shujun-He/RibonanzaNet#7: a mask was altered in place, and was another one for the next layer"),
    entry("labels_filled_under_a_mask", masked_loss, masked_loss_twin,
          lambda: (draw(3, 4), torch.tensor([0, 2, 1]), torch.ones(3, dtype=torch.bool)), 11,
          _written(lambda: (draw(3, 4, grad=False), torch.tensor([0, 2, 1]), torch.tensor([True, False, True]))),
          "NVIDIA-NeMo/Automodel#3918: a masked loss wrote ignore_index into the caller's labels"),
    entry("infinities_cleaned_in_place", cleaned, cleaned_twin, lambda: (draw(3),), 11,
          _written(lambda: (torch.tensor([1.0, torch.inf], dtype=DOUBLE),))),
    entry("weight_clipped_in_place", clipped_weight, clipped_weight_twin, lambda: (draw(3), draw(3, seed=1)), 11,
          _written(lambda: (draw(3, grad=False), torch.tensor([0.5, 2.0, -3.0], dtype=DOUBLE)))),
]  # fmt: skip
