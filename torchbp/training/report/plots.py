"""The plots of a run's report as data, and what a learner should look for in them. `figures.py` draws them."""

import re
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import auc, roc_curve

from torchbp.training.callbacks.saturation import plot_words

MOST_CURVES = 10  # in a plot
MOST_POINTS = 400  # of a curve, about
SHARES = {"maximum": "max", "95 % are below": "p95", "median": "p50", "5 % are below": "p05"}


@dataclass(frozen=True)
class Curve:
    """x and y, of one shape `(points,)`, at least one point, all finite."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Plot:
    """Curves, a title, what to look for, and the axes. `log`: y is logarithmic; `unit`: y runs from 0 to 1. `points`: a
    curve is points without a line; `marked`: it has both. `line`: the x and the y of the ends of a thin line, in a plot
    that is not over epochs.
    """

    name: str
    title: str
    caption: str
    y: str
    curves: list[Curve]
    x: str = "epoch"
    log: bool = False
    unit: bool = False
    points: bool = False
    marked: bool = False
    line: tuple | None = ((0, 1), (0, 1))


def learning_plots(history, task):
    """Loss and score over the epochs, as far as `history` has them."""
    loss = Plot(
        "loss",
        "Loss",
        "Both should fall. A validation loss that rises while the training loss still falls is overfitting; "
        "curves that jump up and down need a smaller learning rate.",
        "mean loss",
        _column_curves(history, {"training": "train/loss", "validation": "val/loss"}),
    )
    title, caption, axis = task.score_words
    curves = _column_curves(history, {"validation": f"val/{task.score}"})
    score = Plot(task.score, title, caption, axis, curves)
    return [plot for plot in (loss, score) if plot.curves]


# name of the plot: what `history` has of each layer; title, what to look for, axis
LAYERS = {
    "dz": (
        "dz_rms",
        "Gradient flow: dL/dZ of each layer",
        "Layer 1 is next to the input. A dZ that shrinks layer by layer towards it is the vanishing gradient; "
        "one that grows is the exploding gradient.",
        "RMS of dL/dZ",
    ),
    "dw": (
        "dw_rms",
        "Gradient of the weights: dL/dW",
        "Gradient descent steps against it. It falls as a minimum comes near. A layer whose dW is far below the "
        "others learns last.",
        "RMS of dL/dW",
    ),
    "relative": (
        "dw_to_w",
        "Gradient relative to the weights",
        "Multiplied by the learning rate, this is the size of a step relative to the weights. "
        "Steps of about 0.001 are a common rule of thumb; much larger ones are unstable, much smaller ones slow.",
        "‖dW‖ / ‖W‖",
    ),
}


def gradient_plots(history, activation):
    """What backpropagation computed over the epochs, for each layer and for single rows, as far as `history` has it.

    activation: the name of the hidden layers' activation.
    """
    saturated, caption = plot_words(activation)
    rows = {name: f"sample_gradient/{key}" for name, key in SHARES.items()}
    plots = [
        *(
            Plot(name, title, caption, axis, _layer_curves(history, quantity, positive=True), log=True)
            for name, (quantity, title, caption, axis) in LAYERS.items()
        ),
        Plot("saturated", saturated, caption, "share", _layer_curves(history, "saturated"), unit=True),
        Plot(
            "samples",
            "Gradient of a single row",
            "Most rows are soon learnt, and the median falls. A maximum that stays high comes from a few rows with a "
            "large gradient: the hardest rows, below.",
            "norm of its gradient",
            _column_curves(history, rows, positive=True),
            log=True,
        ),
    ]
    return [plot for plot in plots if plot.curves]


def _layer_curves(history, quantity, positive=False):
    layers = sorted(int(m[1]) for name in history if (m := re.fullmatch(rf"{quantity}/(\d+)", str(name))))
    if len(layers) > MOST_CURVES:  # the first, the last, and evenly between
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, MOST_CURVES).round().astype(int)]
    return _column_curves(history, {f"layer {i}": f"{quantity}/{i}" for i in layers}, positive)


def _column_curves(history, columns, positive=False):
    """A curve for each column that has a finite number; `positive` leaves out numbers without a logarithm."""
    curves = []
    for label, column in columns.items():
        if column not in history:
            continue
        y = history[column].to_numpy(float)
        drawn = np.isfinite(y) & (y > 0 if positive else True)
        if drawn.any():
            x, y = thin(history["epoch"].to_numpy(float)[drawn] + 1, y[drawn])
            curves.append(Curve(f"{label}: {y[-1]:.3g}", x, y))
    return curves


def thin(x, y):
    """At most about `MOST_POINTS` points of a curve: its two ends, and of each stretch the lowest and the highest."""
    if len(y) <= MOST_POINTS:
        return x, y
    kept = {0, len(y) - 1}
    for stretch in np.array_split(np.arange(len(y)), MOST_POINTS // 2):
        kept |= {stretch[y[stretch].argmin()], stretch[y[stretch].argmax()]}
    kept = sorted(kept)
    return x[kept], y[kept]


def roc_plot(names, truth, probabilities):
    """The ROC of each output, the smallest area first; None if no output has both positive and negative rows.

    names: of the outputs; truth, probabilities: `(N, outputs)`, of 0/1 and of [0, 1].
    """
    curves = []
    for name, y, p in zip(names, truth.T, probabilities.T, strict=True):
        if 0 < y.sum() < len(y):
            fpr, tpr, _ = roc_curve(y, p)
            curves.append((auc(fpr, tpr), name, fpr, tpr))
    if not curves:
        return None
    curves.sort(key=lambda curve: curve[0])
    caption = (
        "Every point is a threshold. The upper left corner is perfect, the diagonal is guessing. The area under the "
        "curve (AUC) is how often a row with the label gets a higher probability than one without."
    )
    if len(curves) > MOST_CURVES:
        caption += f" Shown are the {MOST_CURVES} smallest of {len(curves)} areas."
    if missing := len(names) - len(curves):
        caption += f" {missing} of {len(names)} outputs have only positive or only negative rows, and no curve."
    drawn = [Curve(f"{name}: AUC {area:.3f}", *thin(fpr, tpr)) for area, name, fpr, tpr in curves[:MOST_CURVES]]
    return Plot(
        "roc", "ROC of the validation rows", caption, "true positive rate", drawn, "false positive rate", unit=True
    )
