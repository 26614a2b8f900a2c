"""What a run's report plots, and what a learner should look for in it. The drawing is in `figures.py`."""

import re
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import auc, roc_curve

CURVES = 10  # at most so many in a plot
POINTS = 400  # at most about so many of a curve
SHARES = {"maximum": "max", "95 % are below": "p95", "median": "p50", "5 % are below": "p05"}


@dataclass(frozen=True)
class Curve:
    """x and y, of one shape `(points,)`, at least one point, all finite."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Plot:
    """Curves with the words around them. `unit` axes run from 0 to 1."""

    name: str
    title: str
    look: str
    y: str
    curves: list[Curve]
    x: str = "epoch"
    log: bool = False
    unit: bool = False


def learning_plots(history, multilabel=False):
    """Loss and accuracy over the epochs, those that `history` has."""
    loss = Plot(
        "loss",
        "Loss",
        "Both should fall. A validation loss that rises while the training loss still falls is overfitting; "
        "curves that jump up and down ask for a smaller learning rate.",
        "mean loss",
        of_columns(history, {"training": "train/loss", "validation": "val/loss"}),
    )
    accuracy = Plot(
        "accuracy",
        "Accuracy",
        "The share of right answers, one for each label of a row. Compare it with that of an answer that never looks "
        "at the features: for each label what most rows have, with it or without."
        if multilabel
        else "The share of right answers. Compare it with the share of the most frequent class, "
        "which an answer that never looks at the features gets as well.",
        "share of answers" if multilabel else "share of rows",
        of_columns(history, {"validation": "val/accuracy"}),
    )
    return [plot for plot in (loss, accuracy) if plot.curves]


def gradient_plots(history, saturation):
    """What backpropagation computed over the epochs, layer by layer and row by row, as far as `history` has it."""
    plots = [
        Plot(
            "dz",
            "Gradient flow: dL/dZ of each layer",
            "Layer 1 is next to the input. A dZ that shrinks layer by layer towards it is the vanishing gradient; "
            "one that grows is the exploding gradient.",
            "RMS of dL/dZ",
            of_layers(history, "dz_rms", positive=True),
            log=True,
        ),
        Plot(
            "dw",
            "Gradient of the weights: dL/dW",
            "Descent goes against it. It falls as a minimum comes near; a layer far below the others learns last.",
            "RMS of dL/dW",
            of_layers(history, "dw_rms", positive=True),
            log=True,
        ),
        Plot(
            "relative",
            "Gradient relative to the weights",
            "Times the learning rate, it is how far a step moves the weights, as a share of their size. "
            "Steps of about 0.001 are a common rule of thumb; far larger ones are unsteady, far smaller ones slow.",
            "‖dW‖ / ‖W‖",
            of_layers(history, "dw_to_w", positive=True),
            log=True,
        ),
        Plot(
            "saturated",
            saturation.title,
            saturation.look,
            "share",
            of_layers(history, "saturated"),
            unit=True,
        ),
        Plot(
            "samples",
            "Gradient of a single row",
            "Most rows are soon learnt, and the median falls. A maximum that stays high is a few rows that pull hard: "
            "the hardest rows, below.",
            "norm of its gradient",
            of_columns(
                history,
                {name: f"sample_gradient/{key}" for name, key in SHARES.items()},
                positive=True,
            ),
            log=True,
        ),
    ]
    return [plot for plot in plots if plot.curves]


def of_layers(history, quantity, positive=False):
    layers = sorted(int(m[1]) for name in history if (m := re.fullmatch(rf"{quantity}/(\d+)", str(name))))
    if len(layers) > CURVES:  # the first, the last, and evenly between
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, CURVES).round().astype(int)]
    return of_columns(history, {f"layer {i}": f"{quantity}/{i}" for i in layers}, positive)


def of_columns(history, columns, positive=False):
    """A curve for each of the columns that has a finite number; `positive` leaves out what has no logarithm."""
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
    """A curve of at most `POINTS` points and its two ends: of each stretch the lowest and the highest point."""
    if len(y) <= POINTS:
        return x, y
    kept = {0, len(y) - 1}
    for stretch in np.array_split(np.arange(len(y)), POINTS // 2):
        kept |= {stretch[y[stretch].argmin()], stretch[y[stretch].argmax()]}
    kept = sorted(kept)
    return x[kept], y[kept]


def roc_plot(names, truth, probabilities):
    """The ROC of each output, the lowest areas first, or None if no output has rows of both kinds.

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
    look = (
        "Every point is a threshold. The upper left corner is perfect, the diagonal is guessing. The area under the "
        "curve (AUC) is how often a row with the label gets a higher probability than one without."
    )
    if len(curves) > CURVES:
        look += f" Drawn are the {CURVES} smallest areas of {len(curves)}."
    if missing := len(names) - len(curves):
        look += f" Without a curve, as they have rows of one kind only: {missing} of {len(names)} outputs."
    drawn = [Curve(f"{name}: AUC {area:.3f}", *thin(fpr, tpr)) for area, name, fpr, tpr in curves[:CURVES]]
    return Plot(
        "roc", "ROC of the validation rows", look, "true positive rate", drawn, "false positive rate", unit=True
    )
