"""What the members of an ensemble and the values of a sweep have reached, as lines and as a table."""

import math

from torchbp.engine.stopping import NOT_FINITE

HEAD = "lr", "val/loss", "of members", "accuracy", "epochs", "stopped by"


def of_members(scores):
    """The line of an ensemble: what its members are by themselves, of the scores of a validation."""
    accuracy, deviation = scores["val/member_accuracy"], scores["val/member_accuracy_std"]
    return f"val/accuracy {accuracy:.4f} ± {deviation:.4f} of one alone, spread of P {scores['val/spread']:.4f}"


def rows(classifier, stopping):
    """A row of HEAD for each lr, of the epoch where the loss of its members' mean P was lowest."""
    found = []
    each = classifier.members // classifier.groups
    for group, lr in enumerate(classifier.hparams.lr):
        loss, own, own_deviation, accuracy, accuracy_deviation = classifier.best_scores[:, group].tolist()
        members = slice(group * each, (group + 1) * each)
        epochs = stopping.minimum.epochs[members]
        first, last = int(epochs.min()), int(epochs.max())
        texts = [
            short(loss),
            f"{short(own)} ± {short(own_deviation)}" if each > 1 else short(own),
            f"{accuracy:.3f} ± {accuracy_deviation:.3f}" if each > 1 else f"{accuracy:.3f}",
        ]
        if not math.isfinite(loss):  # its members have diverged at once
            texts = ["–"] * 3
        found.append(
            [
                f"{lr:g}",
                *texts,
                f"{first}" if first == last else f"{first}–{last}",
                stopping.counts(members),
            ]
        )
    return found


def short(loss):
    return f"{loss:.4f}" if loss < 1000 else f"{loss:.0e}"


def lines(table):
    """The table in columns, a line of text for each of its rows and one for HEAD."""
    table = [HEAD, *table]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]


def best(classifier):
    """The line of the lr that is the best, and of the epoch where it was."""
    group = int(classifier.best_scores[0].argmin())
    epoch, loss = classifier.best_epoch[group].item(), classifier.best_scores[0, group].item()
    return f"{classifier.hparams.lr[group]:g}, whose members together had val/loss {loss:.4f} at epoch {epoch}"


def diverged(stopping):
    """A sentence that names the members that are no longer finite, or nothing."""
    numbers = (stopping.minimum.why == NOT_FINITE).nonzero().flatten().tolist()
    if numbers:
        few = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
        yield f"{len(numbers)} members have diverged, and are left out: number {few}. A smaller lr helps"
