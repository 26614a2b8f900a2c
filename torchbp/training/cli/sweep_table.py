"""What the members of an ensemble and the learning rates of a sweep have reached: lines, and a table."""

import math

from torchbp.engine.fitting.stopping import NOT_FINITE


def head(task):
    """The names of the columns."""
    return "lr", "val/loss", "of members", task.score, "epochs", "stopped by"


def members_line(scores, task):
    """The score of single members and the spread of their answers, from the scores of a validation."""
    score, deviation = scores[f"val/member_{task.score}"], scores[f"val/member_{task.score}_std"]
    answers = "P" if task.has_classes else "the answers"
    return (
        f"val/{task.score} {score:.4f} ± {deviation:.4f} of one alone, spread of {answers} {scores['val/spread']:.4f}"
    )


def sweep_rows(model, stopping):
    """A row below the head for each lr, at the epoch where the loss of its members' mean answer was lowest."""
    each = model.members // model.groups
    rows = []
    for group, lr in enumerate(model.hparams.lr):
        members = slice(group * each, (group + 1) * each)
        epochs = stopping.minimum.epochs[members]
        first, last = int(epochs.min()), int(epochs.max())
        scores = _score_texts(*model.best_scores[:, group].tolist(), single=each == 1)
        rows.append([f"{lr:g}", *scores, f"{first}" if first == last else f"{first}–{last}", stopping.counts(members)])
    return rows


def _score_texts(loss, member_loss, member_loss_std, accuracy, accuracy_std, single):
    if not math.isfinite(loss):  # all members of this lr diverged at once
        return ["–"] * 3
    if single:
        return [_short(loss), _short(member_loss), f"{accuracy:.3f}"]
    return [
        _short(loss),
        f"{_short(member_loss)} ± {_short(member_loss_std)}",
        f"{accuracy:.3f} ± {accuracy_std:.3f}",
    ]


def _short(loss):
    return f"{loss:.4f}" if loss < 1000 else f"{loss:.0e}"


def table_lines(head, rows):
    """The head and the rows as lines of text, in columns."""
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def best_rate_line(model):
    """The best lr, its loss, and the epoch where it was lowest."""
    group = int(model.best_scores[0].argmin())
    epoch, loss = model.best_epoch[group].item(), model.best_scores[0, group].item()
    return f"{model.hparams.lr[group]:g}, whose members together had val/loss {loss:.4f} at epoch {epoch}"


def diverged_members_line(stopping):
    """A sentence that names the members that have diverged, or None."""
    numbers = (stopping.minimum.why == NOT_FINITE).nonzero().flatten().tolist()
    if not numbers:
        return None
    listed = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"{len(numbers)} members have diverged, and are left out: number {listed}. A smaller lr helps"
