"""The plots of the answers to the validation rows: of probabilities, and of the numbers of a regression."""

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve

from torchbp.training.report.plots import MOST_CURVES, Curve, Plot, thin

BINS = 10  # of probabilities, in the plot of calibration
FEWEST = 5  # rows that a bin needs for a point
MOST_ROWS = 1000  # of a plot with a point for each row, evenly among all


def precision_plot(names, truth, probabilities):
    """Precision by recall of each output, the smallest area first; None if no output has rows of both kinds.

    names: of the outputs; truth, probabilities: `(N, outputs)`, of 0/1 and of [0, 1].
    """
    curves = []
    for name, y, p in _outputs_with_both(names, truth, probabilities):
        precision, recall, _ = precision_recall_curve(y, p)
        curves.append((average_precision_score(y, p), name, y.mean(), recall, precision))
    if not curves:
        return None
    curves.sort(key=lambda curve: curve[0])
    caption = (
        "Every point is a threshold. Recall is the share of the rows with the label that are found; precision is the "
        "share of the found ones that have it. An answer that does not depend on the features has a precision of the "
        f"label's share, here {min(c[2] for c in curves):.2f}{_to(curves)}. AP is the mean precision."
    )
    drawn = [Curve(f"{name}: AP {area:.3f}", *thin(x, y)) for area, name, _, x, y in curves[:MOST_CURVES]]
    return Plot("pr", "Precision and recall", caption, "precision", drawn, "recall", unit=True, line=None)


def _to(curves):
    most = max(curve[2] for curve in curves)
    return f" to {most:.2f}" if len(curves) > 1 else ""


def calibration_plot(names, truth, probabilities):
    """How often a label is there by the probability that the network gives it; None without enough rows."""
    curves = []
    for name, y, p in _outputs_with_both(names, truth, probabilities):
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        known = [b for b in range(BINS) if (bins == b).sum() >= FEWEST]
        if known:
            x, share = (np.array([values[bins == b].mean() for b in known]) for values in (p, y))
            curves.append(Curve(name, x, share))
    if not curves:
        return None
    caption = (
        f"Each point is a tenth of the range of P with at least {FEWEST} rows: the mean of P, and the share of the "
        "rows that have the label. On the diagonal, P is what it says. Below it the network is too sure of the label."
    )
    return Plot(
        "calibration", "Calibration", caption, "share with the label", curves[:MOST_CURVES], "P", unit=True, marked=True
    )


def _outputs_with_both(names, truth, probabilities):
    return [(name, y, p) for name, y, p in zip(names, truth.T, probabilities.T, strict=True) if 0 < y.sum() < len(y)]


def regression_plots(names, targets, answers):
    """Predicted against true values, and the residuals by the predicted values, for each target, `(N, T)`."""
    plots = []
    rows = np.linspace(0, len(targets) - 1, min(len(targets), MOST_ROWS)).round().astype(int)
    for number, (name, y, p) in enumerate(zip(names[:MOST_CURVES], targets[rows].T, answers[rows].T, strict=False)):
        ends = min(y.min(), p.min()), max(y.max(), p.max())
        plots += [
            Plot(
                f"predicted{number}",
                f"{name}: predicted and true",
                "Each point is a row. On the line the answer is right.",
                "predicted",
                [Curve(name, y, p)],
                "true",
                points=True,
                line=(ends, ends),
            ),
            Plot(
                f"residual{number}",
                f"{name}: residuals",
                "The true value minus the predicted one. They should lie around 0 everywhere: a bow means that the "
                "network misses a bend, and a funnel that it is less exact for large values.",
                "true − predicted",
                [Curve(name, p, y - p)],
                "predicted",
                points=True,
                line=((p.min(), p.max()), (0, 0)),
            ),
        ]
    return plots
