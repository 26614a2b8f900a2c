"""A pack in a report: what each hyperparameter brought, and the table of all configurations."""

import numpy as np

from torchbp.training.report.plots import Curve, Plot
from torchbp.training.report.tables import html_table

TABLE = (
    "All configurations, the best alone first. The loss is that of the rows that their networks were not trained on; "
    "the share is how much of the answer is theirs. One that is worse alone, and errs on other rows, may have a share"
)
# name of the plot: title, x axis, the number of a configuration, what to look for
SWEPT = {
    "rate": (
        "Learning rate",
        "log₁₀ lr",
        lambda one: np.log10(one["lr"]),
        "Losses that rise on both sides have the best rate between them.",
    ),
    "depth": (
        "Depth",
        "hidden layers",
        lambda one: len(one["hidden"]),
        "A table that needs no depth has low losses at 1.",
    ),
    "decay": (
        "Weight decay",
        "log₁₀ weight_decay",
        lambda one: np.log10(one["weight_decay"]),
        "If losses fall to the right, the networks overfit without it.",
    ),
    "dropout": (
        "Dropout",
        "dropout",
        lambda one: one["dropout"],
        "If losses fall to the right, it helps on this table.",
    ),
    "frequency": (
        "Periodic embedding",
        "frequency",
        lambda one: one["frequency"],
        "If losses fall to the right, the target rises and falls often over the range of a feature.",
    ),
}


def pack_plots(configurations):
    """The validation loss of each configuration by each of its hyperparameters; those that answer have a curve."""
    known = [one for one in configurations if one["loss"] is not None]
    plots = []
    for name, (title, axis, of, caption) in SWEPT.items():
        if not any(map(of, known)):  # a table without ranks has no embeddings
            continue
        curves = []
        for label, chosen in (("chosen", True), ("not chosen", False)):
            points = [(of(one), one["loss"]) for one in known if (one["share"] > 0) == chosen]
            if points:
                curves.append(Curve(f"{label}: {len(points)}", *np.array(points, dtype=float).T))
        text = f"Each point is a configuration, with all its networks. {caption}"
        plots.append(Plot(name, title, text, "validation loss", curves, axis, points=True, line=None))
    return plots


def pack_table(configurations, folds):
    """All configurations, as HTML. folds: networks of each."""
    head = ("configuration", "members", "hidden", "lr", "weight decay", "dropout", "frequency", "epochs",
            "validation loss", "share")  # fmt: skip
    rows = [
        [
            one["number"],
            f"{(one['number'] - 1) * folds + 1}–{one['number'] * folds}" if folds > 1 else one["number"],
            "-".join(map(str, one["hidden"])),
            f"{one['lr']:.2g}",
            f"{one['weight_decay']:.2g}",
            f"{one['dropout']:g}",
            f"{one['frequency']:.2g}" if one["frequency"] else "–",
            one["epochs"],
            "nan" if one["loss"] is None else f"{one['loss']:.4f}",
            f"{one['share']:.0%}" if one["share"] else "–",
        ]
        for one in sorted(configurations, key=lambda one: np.inf if one["loss"] is None else one["loss"])
    ]
    return html_table(TABLE, head, rows)
