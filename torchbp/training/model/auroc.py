"""The area under the ROC of a network with one output, over the rows of all processes."""

import torch
from sklearn.metrics import roc_auc_score


def area_under_roc(answers, trainer):
    """The area as a tensor; nan if an answer is nan, and None if all rows have one class.

    answers: of each batch of this process, P and y, `(2, rows)`.
    """
    answers = torch.cat(answers, dim=1) if answers else torch.zeros(2, 0)
    p, y = _of_all_processes(answers, trainer).double().cpu()
    if p.isnan().any():
        return torch.tensor(torch.nan)
    if len(y.unique()) < 2:
        return None
    return torch.tensor(roc_auc_score(y, p))


def _of_all_processes(answers, trainer):
    """The answers of all processes. Only tensors of one shape can be gathered, so nan fills up the shorter ones."""
    if trainer.world_size == 1:
        return answers
    answers = answers.to(trainer.strategy.root_device)
    rows = int(trainer.strategy.reduce(torch.tensor(answers.shape[1], device=answers.device), reduce_op="max"))
    filled = torch.nn.functional.pad(answers, (0, rows - answers.shape[1]), value=torch.nan)
    gathered = trainer.strategy.all_gather(filled).transpose(0, 1).flatten(1)
    return gathered[:, ~gathered[1].isnan()]
