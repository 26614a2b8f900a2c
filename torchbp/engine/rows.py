"""Rows in memory, from which `SGD.fit` gathers its batches."""


class Rows:
    """The rows in memory, x and y. With bagging, `bag` (E, N) holds the places of each member's rows among them."""

    def __init__(self, x, y, bag=None, chunk=None):
        self.x, self.y, self.count, self.bag, self.chunk = x, y, x.shape[-2], bag, chunk

    def of(self, order, steps=None):
        """x and y at the places `order`. With `steps`, in so many batches of one size: (steps, …, N, features)."""
        if self.bag is None:
            return (batches(t[order] if t.dim() == 2 else t[:, order], steps) for t in (self.x, self.y))
        if self.chunk is None or self.chunk >= len(self.bag):
            return (batches(t[self.bag[:, order]], steps) for t in (self.x, self.y))
        return (Bags(t, self.bag, order, steps) for t in (self.x, self.y))

    def bytes_of(self, batch_size):
        """The bytes that `of` gathers for a batch."""
        members = 1 if self.bag is None else len(self.bag) if self.chunk is None else min(self.chunk, len(self.bag))
        of_row = sum(t[..., 0, :].numel() * t.element_size() for t in (self.x, self.y))
        return of_row * members * min(batch_size, self.count)

    def of_members(self, which):
        x, y = (t if t.dim() == 2 else t[which] for t in (self.x, self.y))
        return Rows(x, y, None if self.bag is None else self.bag[which], self.chunk)


class Bags:
    """The rows of each member's bag at the places `order`: like a tensor of them, but gathered when indexed."""

    def __init__(self, t, bag, order, steps):
        self.t, self.bag, self.order, self.steps = t, bag, order, steps
        of_step = (len(bag), len(order) // (steps or 1), t.shape[-1])
        self.shape = of_step if steps is None else (steps, *of_step)

    def __len__(self):
        return self.shape[0]

    def dim(self):
        return len(self.shape)

    def __getitem__(self, index):
        """bags[…, members, :, :]; or bags[step]."""
        if isinstance(index, tuple):
            return batches(self.t[self.bag[index[-3]][:, self.order]], self.steps)
        order = self.order.view(self.steps, -1)[index]
        return Bags(self.t, self.bag, order, None)


def batches(rows, steps):
    if steps is None:
        return rows
    rows = rows.unflatten(-2, (steps, -1))
    return rows if rows.dim() == 3 else rows.transpose(0, 1)
