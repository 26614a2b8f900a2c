"""What the members of an ensemble and the learning rates of a sweep have reached: lines, and a table."""

import math

from torchbp.engine.fitting.stopping import NOT_FINITE

HEAD = "lr", "val/loss", "of members", "accuracy", "epochs", "stopped by"


def members_line(scores):
    """The accuracy of single members and the spread of their answers, from the scores of a validation."""
    accuracy, deviation = scores["val/member_accuracy"], scores["val/member_accuracy_std"]
    return f"val/accuracy {accuracy:.4f} ± {deviation:.4f} of one alone, spread of P {scores['val/spread']:.4f}"


def sweep_rows(classifier, stopping):
    """A row below HEAD for each lr, at the epoch where the loss of its members' mean P was lowest."""
    each = classifier.members // classifier.groups
    rows = []
    for group, lr in enumerate(classifier.hparams.lr):
        members = slice(group * each, (group + 1) * each)
        epochs = stopping.minimum.epochs[members]
        first, last = int(epochs.min()), int(epochs.max())
        scores = _score_texts(*classifier.best_scores[:, group].tolist(), single=each == 1)
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


def table_lines(rows):
    """HEAD and the rows as lines of text, in columns."""
    table = [HEAD, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def best_rate_line(classifier):
    """The best lr, its loss, and the epoch where it was lowest."""
    group = int(classifier.best_scores[0].argmin())
    epoch, loss = classifier.best_epoch[group].item(), classifier.best_scores[0, group].item()
    return f"{classifier.hparams.lr[group]:g}, whose members together had val/loss {loss:.4f} at epoch {epoch}"


def diverged_members_line(stopping):
    """A sentence that names the members that have diverged, or None."""
    numbers = (stopping.minimum.why == NOT_FINITE).nonzero().flatten().tolist()
    if not numbers:
        return None
    listed = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"{len(numbers)} members have diverged, and are left out: number {listed}. A smaller lr helps"
