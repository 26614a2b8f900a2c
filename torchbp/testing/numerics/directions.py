"""Directions in which a Jacobian is looked at: single entries of a vector, and random projections of it."""

import torch

from torchbp.testing.numerics.tensors import weights

SAMPLES, PROJECTIONS = 4, 4  # of a vector that is too long to look at every entry


class Directions:
    """The rows of a Jacobian (directions of the outputs), or its columns (directions of one argument).

    A direction is the index of an entry, or a vector of weights: a projection. Entries come first.
    """

    def __init__(self, directions):
        directions = list(directions)
        entries = [d for d in directions if isinstance(d, int)]
        self.projections = [d for d in directions if not isinstance(d, int)]
        self.all = entries + self.projections
        self.entries = torch.tensor(entries, dtype=torch.long)

    def __len__(self):
        return len(self.all)

    def __iter__(self):
        return iter(self.all)

    def __getitem__(self, k):
        return self.all[k]

    @property
    def are_entries(self):
        return not self.projections

    def of_vector(self, numbers):
        """The entries of a vector, and its projections."""
        return torch.cat([numbers[self.entries], *((p @ numbers)[None] for p in self.projections)])

    def of_columns(self, matrix):
        """The columns of a matrix, and projections of its rows."""
        return torch.stack([matrix[:, d] if isinstance(d, int) else matrix @ d for d in self.all], dim=1)

    def of_errors(self, sizes):
        """The size of the entries and projections of a vector of independent errors."""
        return torch.cat([sizes[self.entries], *((p * sizes).norm()[None] for p in self.projections)])

    def norms(self):
        return torch.tensor(
            [1.0] * len(self.entries) + [float(p.norm()) for p in self.projections], dtype=torch.float64
        )

    def is_projection(self):
        return torch.tensor([False] * len(self.entries) + [True] * len(self.projections))


def chosen_directions(size, generator, max_whole, projections_only=0):
    """Every entry of a short vector; else some entries and projections, or so many projections alone."""
    if size <= (min(max_whole, 8) if projections_only else max_whole):
        return list(range(size))
    samples, projections = (0, projections_only) if projections_only else (SAMPLES, PROJECTIONS)
    sampled = torch.randint(size, (samples,), generator=generator).tolist()
    return sampled + [weights((size,), generator) for _ in range(projections)]
