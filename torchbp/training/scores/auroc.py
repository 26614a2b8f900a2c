"""The area under the ROC, over the rows of all processes: of the one output, or the mean over the outputs."""

import torch
import torch.distributed as dist
from sklearn.metrics import roc_auc_score


def gathered(columns, trainer):
    """Columns of numbers of this process's rows, `(columns, rows)`, with those of all processes. Only tensors of one
    shape can be gathered, so nan fills up the shorter ones; the last column must have none otherwise."""
    if trainer.world_size == 1:
        return columns
    columns = columns.to(trainer.strategy.root_device)
    rows = int(trainer.strategy.reduce(torch.tensor(columns.shape[1], device=columns.device), reduce_op="max"))
    filled = torch.nn.functional.pad(columns, (0, rows - columns.shape[1]), value=torch.nan)
    parts = [torch.empty_like(filled) for _ in range(trainer.world_size)]
    dist.all_gather(parts, filled)
    columns = torch.cat(parts, 1)
    return columns[:, ~columns[-1].isnan()]


def area_under_roc(p, truth, w):
    """The area as a tensor; nan if an answer is nan, and None if each output has rows of one kind alone.

    p, truth: `(N, outputs)`, in [0, 1] and of 0 and 1. w: the weight of each row, `(N)`.
    """
    if p.isnan().any():
        return torch.tensor(torch.nan)
    p, truth, w = (t.double().cpu().numpy() for t in (p, truth, w))
    areas = [
        roc_auc_score(y, of_output, sample_weight=None if (w == 1).all() else w)
        for y, of_output in zip(truth.T, p.T, strict=True)
        if 0 < y.sum() < len(y)
    ]
    return torch.tensor(sum(areas) / len(areas), dtype=torch.float64) if areas else None
