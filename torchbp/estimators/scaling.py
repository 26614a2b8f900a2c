"""The scaling of features inside the estimators."""

import numpy as np

SCALINGS = "standard", "none"
SMALLEST = 1e-12  # of a deviation, as a fraction of the largest absolute value, that is more than rounding


def shift_and_scale(x, weight, scaling):
    """m and s, each (F), float64, so that the network's input is (x − m)/s.

    Args:
        x: (N, F), float64. weight: (N), float64, of each row.
        scaling: "standard", the mean and the standard deviation of the rows by their weights; "none", 0 and 1.

    s is 1 for a constant feature.
    """
    if scaling == "none":
        return np.zeros(x.shape[1]), np.ones(x.shape[1])
    mean = np.average(x, axis=0, weights=weight)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))
    constant = deviation <= SMALLEST * np.abs(x).max(0)
    return mean, np.where(constant, 1.0, deviation)
