"""The scaling of the features, which is part of the network and of its checkpoint."""

import math

import torch


class Standardize(torch.nn.Module):
    """x ↦ (x − mean) / std, feature by feature. Its two buffers, shape `(features,)`, are part of the state_dict.

    nan is a missing value: the statistics leave it out, and with `impute` it is replaced by the mean.
    """

    def __init__(self, features, impute=False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.impute = impute

    def fit(self, x):
        """Compute mean and std of these rows, `(N, features)`. A constant feature has no information: it becomes 0."""
        for column, mean, std in zip(
            x.T, self.mean, self.std, strict=True
        ):  # one by one: a float64 copy of all would be large
            known = column[~column.isnan()].double()  # large numbers would lose their differences in float32
            deviation = known.std(correction=0) if len(known) else 0
            mean.copy_(known.mean() if len(known) else 0)
            std.copy_(deviation if deviation > 0 else math.inf)

    def forward(self, x):
        x = (x - self.mean) / self.std
        return torch.where(x.isnan(), 0, x) if self.impute else x
