"""Rows in memory, from which `fit` gathers its batches."""

import torch

from torchbp.engine.losses import CountedRows


class Rows:
    """The rows in memory, a table x and y, and which of them each member takes.

    Args:
        x: (N, features); of an ensemble also (E, N, features).
        y: (N, …), or (E, N, …).
        bag: (E, n), the places of each member's rows in the table, some of them twice; or None.
        chunk: how many members go through a step at once; None is all.
        mask: which rows of the table take part, bools, (N), or (E, N) of each member; None is all.
        row_dims: the dimensions of a row of y: 0 of a class, 1 of numbers.

    `fewest` and `most` are the smallest and the largest number of rows of a member, and `counts` (E) has all of them
    where they differ; it is None where they do not.
    """

    def __init__(self, x, y, bag=None, chunk=None, mask=None, row_dims=1):
        self.x, self.y, self.bag, self.chunk, self.mask, self.row_dims = x, y, bag, chunk, mask, row_dims
        self.table, self.counts = x.shape[-2], None
        self.fewest = self.most = self.table
        if mask is not None:
            counts = mask.sum(-1)
            self.fewest, self.most = (int(number) for number in counts.aminmax())
            self.counts = counts if self.fewest < self.most else None

    def ordered(self, order):
        """The places of the rows that take part, in this order of all rows of the table: (n), or (E, most).

        A member with fewer rows than `most` has the place 0 behind its own.
        """
        if self.mask is None:
            return order
        if self.mask.dim() == 1:
            return order[self.mask[order]]
        places = order.new_zeros(len(self.mask), self.most)
        for of_member, mask in zip(places, self.mask, strict=True):
            own = order[mask[order]]
            of_member[: len(own)] = own
        return places

    def of(self, places, steps=None):
        """x and y at these places, as `ordered` gives them. With `steps`, in so many batches: (steps, …, N, …)."""
        if self.bag is not None:
            places = self.bag[:, places]
        if self.chunk is None or places.dim() == 1 or self.chunk >= len(places):
            x = gathered(self.x, places, 1, steps)
        else:
            x = LazyRows(self.x, places, steps)
        if self.row_dims and isinstance(x, LazyRows):
            return x, LazyRows(self.y, places, steps)
        return x, gathered(self.y, places, self.row_dims, steps)

    def pieces(self, size):
        """x and y of all rows that take part, so many at a time."""
        places = self.ordered(torch.arange(self.table, device=self.x.device))
        for start in range(0, self.most, size):
            yield self.batch(places, start, size)  # without a name for it, so that it is freed before the next

    def batch(self, places, start, size):
        """x and y at the places from `start` to `start + size`, where they exist."""
        x, y = self.of(places[..., start : start + size])
        return x, y if self.counts is None else CountedRows(y, self.counts_from(start, size))

    def counts_from(self, start, size):
        """How many of the rows from `start` to `start + size` each member has."""
        return (self.counts - start).clamp(0, size)

    def bytes_of(self, batch_size):
        """The bytes that `of` gathers for a batch."""
        members = 1
        if self.bag is not None or (self.mask is not None and self.mask.dim() == 2):
            members = len(self.mask if self.bag is None else self.bag)
            members = members if self.chunk is None else min(self.chunk, members)
        of_row = self.x[..., 0, :].nbytes + self.y.select(-1 - self.row_dims, 0).nbytes
        return of_row * members * min(batch_size, self.most)

    def of_members(self, which):
        """The rows of these members, an index."""
        x, y = (t if t.dim() == 1 + dims else t[which] for t, dims in ((self.x, 1), (self.y, self.row_dims)))
        bag, mask = (t if t is None else t[which] for t in (self.bag, self.mask))
        return Rows(x, y, bag, self.chunk, mask, self.row_dims)


class LazyRows:
    """The rows of a table at places (E, n): like a tensor of them, but gathered for the members that are asked for."""

    def __init__(self, table, places, steps):
        self.table, self.places, self.steps = table, places, steps
        of_step = (len(places), places.shape[1] // (steps or 1), table.shape[-1])
        self.shape = of_step if steps is None else (steps, *of_step)

    def __len__(self):
        return self.shape[0]

    def dim(self):
        return len(self.shape)

    def __getitem__(self, index):
        """rows[members], and where there are several steps rows[step] and rows[:, members]."""
        if self.steps is not None and not isinstance(index, tuple):
            return LazyRows(self.table, self.places.unflatten(1, (self.steps, -1))[:, index], None)
        members = index if self.steps is None else index[1]
        table = self.table if self.table.dim() == 2 else self.table[members]
        return gathered(table, self.places[members], 1, self.steps)


def gathered(table, places, row_dims, steps):
    """The rows of the table (N, …) or (E, N, …) at places (n) or (E, n)."""
    shared = table.dim() == 1 + row_dims
    if shared:
        rows = table[places]
    elif places.dim() == 1:
        rows = table[:, places]
    else:
        rows = table[torch.arange(len(table), device=table.device).unsqueeze(1), places]
    if steps is None:
        return rows
    rows = rows.unflatten(rows.dim() - 1 - row_dims, (steps, -1))
    return rows if shared and places.dim() == 1 else rows.transpose(0, 1)
