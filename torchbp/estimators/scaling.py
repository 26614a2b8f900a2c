"""The scaling of features inside the estimators, by `torchbp.scaling`, in float64.

standard    as there, by the weights of the rows
clipped     the same
ranked      √12 (F(x) − ½) of each feature with more than 10 values, where F(x) is the share of the training rows up
            to x, on lines between 65 of them, and behind these all features clipped
auto        ranked from 1000 training rows on, otherwise clipped
none        x
"""

import numpy as np
import torch

from torchbp.scaling import Clipped, Scaling, Standard, quantile, share_up_to

SCALINGS = "auto", "clipped", "ranked", "standard", "none"
MOST_ROWS_UNRANKED = 1000
FEWEST_VALUES, QUANTILES = 10, 65


class Ranked(Clipped):
    """`(N, features)` to the ranks of those that have them, and then all of them clipped."""

    def __init__(self, features):
        super().__init__(features)
        self.register_buffer("quantiles", torch.zeros(features, QUANTILES))  # all 0 of a feature without ranks

    @property
    def features(self):
        return len(self.median) + self.ranks

    @property
    def ranks(self):
        """How many features have ranks."""
        return int(self.ranked().sum())

    def names(self, features):
        ranked = self.ranked().tolist()
        return [f"rank({name})" for name, is_ranked in zip(features, ranked, strict=True) if is_ranked] + features

    def ranked(self):
        """Which features have ranks."""
        return self.quantiles[:, 0] < self.quantiles[:, -1]

    def _fit_feature(self, number, column, known, weight):
        super()._fit_feature(number, column, known, weight)
        if len(known.unique()) > FEWEST_VALUES:
            shares = torch.linspace(0, 1, QUANTILES, dtype=torch.double)
            self.quantiles[number] = quantile(known, shares)

    def scaled(self, x):
        ranked = self.ranked()
        ranks = share_up_to(x[:, ranked], self.quantiles[ranked])
        return torch.cat([12**0.5 * (ranks - 0.5), super().scaled(x)], 1)


def fitted_scaling(name: str, x: np.ndarray, weight: np.ndarray | None) -> Scaling:
    """The scaling of these rows, for all that come later: tensors (N, F), float64, to (N, features).

    Args:
        name: one of SCALINGS.
        x: (N, F), float64. weight: (N), or None, where all rows weigh the same.

    Raises:
        ValueError: an unknown name.
    """
    if name not in SCALINGS:
        raise ValueError(f"scaling={name!r} is not known; use {', '.join(SCALINGS[:-1])} or {SCALINGS[-1]}")
    if name == "auto":
        name = "clipped" if len(x) < MOST_ROWS_UNRANKED else "ranked"
    kinds = {"standard": Standard, "clipped": Clipped, "ranked": Ranked, "none": Scaling}
    scaling = kinds[name](x.shape[1]).double()
    scaling.fit(as_tensor(x), None if weight is None else as_tensor(weight))
    if name != "none":  # what is constant in the first rows may vary in those of `partial_fit`
        scaling.scale.nan_to_num_(posinf=1.0)
    return scaling


def as_tensor(x):
    """An array, which may be read-only, as a tensor."""
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))
