"""What a person needs in order to judge a run: what an answer without the features reaches, and how the losses went."""

import torch

from torchbp.training.scores.scores import Scores

# of the lowest validation loss: a rise that is worth a line; between halves of the later epochs, half of it
RISEN = 0.02
FALLING = 0.01  # of the loss, in the last tenth of the epochs
FEWEST_EPOCHS = 5


@torch.no_grad()
def baseline_scores(model, data):
    """{metric: score} on the validation rows of the best answer that is the same for all rows: of the loss, and of the
    task's score, the accuracy of the largest class for example. {} without validation rows."""
    _, y, *w = data.rows("train")
    _, val_y, *val_w = data.rows("val")
    if not len(val_y):
        return {}
    task = model.task
    of = {"device": model.device}
    w = w[0].to(**of) if w else torch.ones(len(y), **of)
    best = {}
    for name, weighted in (("loss", True), (task.score, False)):  # of weighted classes, the best loss has any accuracy
        z = task.constant(y.to(**of), w, weighted)
        scores = Scores(task)
        scores.add(z.expand(1, 1, len(val_y), -1), val_y.to(**of), val_w[0].to(**of) if val_w else None)
        best[name] = float(scores.means(lambda sums: sums)[1][name][0])
    return best


def baseline_line(scores):
    """The same in words."""
    figures = "  ".join(f"val/{name} {value:.4f}" for name, value in scores.items())
    return f"{figures}  of one answer for all rows"


def baseline_troubles(loss, baseline):
    """A sentence, if the validation loss is no lower than that of `baseline_scores`."""
    if not baseline or loss < baseline["loss"]:
        return []
    return [
        f"val/loss {loss:.4f} is no lower than {baseline['loss']:.4f}, that of one answer for all rows: nothing was "
        "learned that holds for new rows. More rows, or other features, help"
    ]


def loss_troubles(history, reached_max_epochs):
    """A sentence for a loss that was still falling at the end, or a validation loss that has risen.

    history: a DataFrame with a row per epoch: `epoch` from 0, `train/loss`, `val/loss`.
    """
    watched = "val/loss" if "val/loss" in history else "train/loss"
    if watched not in history:
        return []
    known = history[["epoch", watched]].dropna()
    if len(known) < FEWEST_EPOCHS:
        return []
    losses, epochs = known[watched].to_numpy(), known["epoch"].to_numpy().astype(int) + 1
    best = losses.argmin()
    before = losses[-1 - max(1, len(losses) // 10)]
    if reached_max_epochs and best == len(losses) - 1 and before - losses[-1] > FALLING * abs(before):
        return [f"{watched} was still falling when max_epochs {epochs[-1]} was reached: more of them may help"]
    if (
        watched == "val/loss"
        and _fell_since(history, epochs[best])
        and losses[-1] - losses[best] > RISEN * losses[best]
        and _keeps_rising(losses[best + 1 :], losses[best])
    ):
        return [
            f"val/loss has risen since epoch {epochs[best]}, from {losses[best]:.4f} to {losses[-1]:.4f}, while "
            "train/loss fell: it overfits. More weight_decay, dropout, or fewer units help"
        ]
    return []


def _keeps_rising(later, lowest):
    """Whether the losses of the second half are higher than those of the first: a minimum among losses that go up and
    down has higher ones after it, too, and they rise no further."""
    half = len(later) // 2
    return half > 0 and later[-half:].mean() - later[:half].mean() > RISEN / 2 * abs(lowest)


def _fell_since(history, epoch):
    """Whether the training loss fell after this epoch."""
    if "train/loss" not in history:
        return False
    later = history[history["epoch"] >= epoch - 1]["train/loss"].dropna().to_numpy()
    return len(later) > 1 and later[-1] < later[0]
