"""The scaling of the features, in front of a network. It needs torch alone.

    standard    (x − mean) / std
    clipped     z / √(1 + (z/4)²), of the same as z                no value is beyond ±4
    robust      z / √(1 + (z/3)²), with z = (x − median) / IQR     no value is beyond ±3; IQR: the quartiles' distance
    quantile    Φ⁻¹(F(x))      F: the shares of the training rows up to x, so that they become normally distributed
    none        x

nan is a missing value. The statistics leave it out, and it is replaced by the median first. Mean and std may be of
weighted rows. The statistics are buffers, so a checkpoint has them.
"""

import math

import torch

MOST_ROWS = 100_000  # of which quantiles are taken, evenly among all
QUANTILES = 1000
SMALLEST = 1e-12  # std, as a fraction of the largest number, that is more than rounding
FARTHEST = 5.2  # |Φ⁻¹| of the least and of the largest value, as in scikit-learn


class Scaling(torch.nn.Module):
    """Raw features to the network's input, feature by feature, `(N, features)` to `(N, features)`.

    Args:
        features: how many.

    Example:
        >>> scaling = make_scaling("standard", 2)
        >>> scaling.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> scaling(torch.tensor([[1.0, 5.0], [float("nan"), 7.0]]))  # [[−1, 0], [0, 0]]: a constant becomes 0
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("median", torch.zeros(features))

    @property
    def features(self) -> int:
        """How many features it gives."""
        return len(self.median)

    def names(self, features: list[str]) -> list[str]:
        """The names of the features that it gives, where it gets those with these names."""
        return list(features)

    def fit(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """Compute the statistics of the training rows.

        Args:
            x: `(N, features)`, floating, nan for a missing value.
            weight: `(N)`, how much each row counts in the mean and the std; None is 1 for all. The median and other
                quantiles are those of the rows, whatever they weigh.
        """
        few = x[:: max(1, -(-len(x) // MOST_ROWS))]
        for number in range(x.shape[1]):  # one by one: a float64 copy of all would be large
            known = few[:, number][~few[:, number].isnan()].double().sort().values
            median = quantile(known, 0.5)
            self.median[number] = median
            self._fit_feature(number, x[:, number], known, weight)

    def _fit_feature(self, number, column, known, weight):
        """column: `(N)`. known: some of its values, all if there are not very many, in order and without nan."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scaled(torch.where(x.isnan(), self.median, x))

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """The same of rows without nan."""
        return x


class _Linear(Scaling):
    """(x − center) / scale; a constant feature has no information: its scale is inf, and it becomes 0."""

    def __init__(self, features):
        super().__init__(features)
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def scaled(self, x):
        return (x - self.center) / self.scale


class Standard(_Linear):
    def _fit_feature(self, number, column, known, weight):
        there = ~column.isnan()
        column = column[there].double()  # large numbers would lose their differences in float32
        share = torch.ones_like(column) if weight is None else weight[there].double()
        if not share.sum() > 0:
            self.center[number], self.scale[number] = 0, math.inf
            return
        mean, deviation = mean_and_deviation(column, share)
        self.center[number] = mean
        self.scale[number] = deviation if deviation > SMALLEST * column.abs().max() else math.inf


class Clipped(Standard):
    def scaled(self, x):
        return smoothly_clipped(super().scaled(x), 4)


class Robust(_Linear):
    """Where half of the rows have one value, the distance of the quartiles is 0, and that of the extremes serves."""

    def _fit_feature(self, number, column, known, weight):
        low, middle, high = (quantile(known, share) for share in (0.25, 0.5, 0.75))
        if len(known) and not high > low:
            low, high = float(known[0]), float(known[-1])
        self.center[number] = middle
        self.scale[number] = high - low if high > low else math.inf

    def scaled(self, x):
        return smoothly_clipped(super().scaled(x), 3)


class Quantile(Scaling):
    """F is `share_up_to`, on lines between the values of which k/999 of the rows are below, k = 0 … 999."""

    def __init__(self, features):
        super().__init__(features)
        self.register_buffer("quantiles", torch.zeros(features, QUANTILES))

    def _fit_feature(self, number, column, known, weight):
        shares = torch.linspace(0, 1, QUANTILES, dtype=torch.double, device=known.device)
        self.quantiles[number] = quantile(known, shares)

    def scaled(self, x):
        share = share_up_to(x, self.quantiles)
        z = torch.special.ndtri(share.clamp(1e-7, 1 - 1e-7)).clamp(-FARTHEST, FARTHEST)
        return torch.where(self.quantiles[:, 0] < self.quantiles[:, -1], z, 0)


SCALINGS: dict[str, type[Scaling]] = {
    "standard": Standard,
    "clipped": Clipped,
    "robust": Robust,
    "quantile": Quantile,
    "none": Scaling,
}


def make_scaling(name: str, features: int) -> Scaling:
    """The scaling of this name, one of `SCALINGS`, for so many features."""
    return SCALINGS[name](features)


def mean_and_deviation(column, weight):
    """The mean and the standard deviation of numbers of any size, float64 `(N)`, by their weights `(N)`."""
    # the squares of large numbers would be inf, and of small ones 0
    unit = power_of_two_below(float(column.abs().max()))
    column, share = column / unit, weight / weight.sum()
    mean = column[0] + share @ (column - column[0])  # exactly the number of a constant column, however long
    return unit * mean, unit * (share @ (column - mean).square()).sqrt()


def power_of_two_below(number):
    """The power of two from number/2 to number, by which a division rounds nothing; 1 of 0."""
    return math.ldexp(1, math.frexp(number)[1] - 1) if number else 1.0


def smoothly_clipped(z, bound):
    """z / √(1 + (z/bound)²): nearly z up to half of the bound, and never beyond it."""
    far = 1e9 * bound  # from where on the result is the bound, and the square of z may be inf
    z = z.clamp(-far, far)
    return z / (1 + (z / bound).square()).sqrt()


def share_up_to(x, quantiles):
    """F(x), from 0 to 1, on lines between the evenly spaced quantiles of each feature, `(features, Q)`, in order; of a
    value that several of them have, the middle of its shares. x and the result: `(N, features)`."""
    values, last = x.T.contiguous(), quantiles.shape[1] - 1
    above = torch.searchsorted(quantiles, values)  # the first quantile from x on
    below = torch.searchsorted(quantiles, values, right=True) - 1  # the last one up to x
    above, below = above.clamp(max=last), below.clamp(min=0)
    low, high = quantiles.gather(1, below), quantiles.gather(1, above)
    gap = high - low
    part = torch.where(gap > 0, (values - low) / gap, 0.5).clamp(0, 1)
    return ((below + part * (above - below)) / last).T


def quantile(known, share):
    """The quantiles of sorted values, between two of them on the line; 0 where there is no value. share: one number or
    several, `(Q)`."""
    share = torch.as_tensor(share, dtype=torch.double, device=known.device)
    if not len(known):
        return torch.zeros_like(share)
    place = share * (len(known) - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=len(known) - 1)
    return torch.lerp(known[low], known[high], place - low)
