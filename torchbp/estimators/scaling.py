"""The scaling of features inside the estimators.

standard    z = (x − m)/s             m, s: mean and standard deviation of the training rows, by their weights
clipped     z / √(1 + (z/4)²)         of the same z: nearly z up to 2, and never above 4
ranked      clipped, and beside it √12 (F(x) − ½) of each feature with more than 10 values, where F(x) is the share
            of the training rows up to x, on lines between 64 of them
auto        ranked from 2000 training rows on, otherwise clipped
"""

import numpy as np

SCALINGS = "auto", "clipped", "ranked", "standard", "none"
MOST_ROWS_UNRANKED = 2000
FEWEST_VALUES, QUANTILES = 10, 65
BOUND = 4
SMALLEST = 1e-12  # of a deviation, as a fraction of the largest number, that is more than rounding


class Scaling:
    """The scaling of these rows, for all that come later.

    Args:
        name: one of SCALINGS.
        x: (N, F), float64. weight: (N), or None, where all rows weigh the same.

    `features` is how many features it gives.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(self, name, x, weight):
        if name not in SCALINGS:
            raise ValueError(f"scaling={name!r} is not known; use {', '.join(SCALINGS[:-1])} or {SCALINGS[-1]}")
        self.name = ("clipped" if len(x) < MOST_ROWS_UNRANKED else "ranked") if name == "auto" else name
        self.mean = np.average(x, axis=0, weights=weight)
        deviation = np.sqrt(np.average((x - self.mean) ** 2, axis=0, weights=weight))
        constant = deviation <= SMALLEST * np.abs(x).max(0)
        self.deviation = np.where(constant, 1.0, deviation)
        self.ranked, self.quantiles = [], []
        if self.name == "ranked":
            self.ranked = [number for number, of_one in enumerate(x.T) if len(np.unique(of_one)) > FEWEST_VALUES]
            self.quantiles = [np.quantile(x[:, number], np.linspace(0, 1, QUANTILES)) for number in self.ranked]
        self.features = x.shape[1] + len(self.ranked)

    def __call__(self, x):
        """x (N, F), scaled: (N, features)."""
        if self.name == "none":
            return x
        z = (x - self.mean) / self.deviation
        if self.name == "standard":
            return z
        z = z / np.sqrt(1 + (z / BOUND) ** 2)
        ranks = [share(x[:, number], of_one) for number, of_one in zip(self.ranked, self.quantiles, strict=True)]
        return np.column_stack([z, *(12**0.5 * (rank - 0.5) for rank in ranks)])


def share(x, quantiles):
    """F(x), from 0 to 1; of a value that several of the quantiles have, the middle of its shares."""
    last = len(quantiles) - 1
    first, after = np.searchsorted(quantiles, x, "left"), np.searchsorted(quantiles, x, "right") - 1
    low, high = np.minimum(first, after).clip(0, last), np.maximum(first, after).clip(0, last)
    gap = quantiles[high] - quantiles[low]
    part = np.where(gap > 0, (x - quantiles[low]) / np.where(gap > 0, gap, 1), 0.5).clip(0, 1)
    return (low + part * (high - low)) / last
