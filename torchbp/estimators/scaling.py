"""The scaling of features inside the estimators.

standard    z = (x − m)/s             m, s: mean and standard deviation of the training rows, by their weights
clipped     z / √(1 + (z/4)²)         of the same z: nearly z up to 2, and never above 4
"""

import numpy as np

SCALINGS = "clipped", "standard", "none"
BOUND = 4
SMALLEST = 1e-12  # of a deviation, as a fraction of the largest number, that is more than rounding


class Scaling:
    """The scaling of these rows, for all that come later.

    Args:
        name: one of SCALINGS.
        x: (N, F), float64. weight: (N), or None, where all rows weigh the same.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(self, name, x, weight):
        if name not in SCALINGS:
            raise ValueError(f"scaling={name!r} is not known; use {', '.join(SCALINGS[:-1])} or {SCALINGS[-1]}")
        self.name = name
        self.mean = np.average(x, axis=0, weights=weight)
        deviation = np.sqrt(np.average((x - self.mean) ** 2, axis=0, weights=weight))
        constant = deviation <= SMALLEST * np.abs(x).max(0)
        self.deviation = np.where(constant, 1.0, deviation)

    def __call__(self, x):
        """x (N, F), scaled."""
        if self.name == "none":
            return x
        z = (x - self.mean) / self.deviation
        return z / np.sqrt(1 + (z / BOUND) ** 2) if self.name == "clipped" else z
