"""The batches of rows in memory, for each process of a run."""

import torch
from torch.utils.data import DistributedSampler


class Loader:
    """The batches of rows in memory, each one indexing of the tensors, without a DataLoader's machinery.

    Lightning takes it for one by its `sampler`, which it tells the epoch, and by its `batch_sampler`. Batches for a GPU
    are in pinned memory, from which they are copied while the program goes on.
    """

    batch_sampler = None

    def __init__(self, x, y, sampler, pinned=False):
        self.x, self.y, self.sampler, self.pinned = x, y, sampler, pinned

    def __iter__(self):
        for rows in self.sampler:
            yield self.batch(self.x, rows), self.batch(self.y, rows)

    def batch(self, whole, rows):
        out = torch.empty(len(rows), whole.shape[1], dtype=whole.dtype, pin_memory=self.pinned)
        return torch.index_select(whole, 0, rows, out=out)

    def __len__(self):
        return len(self.sampler)


class Batches(DistributedSampler):  # of this class, so that Lightning leaves it as it is
    """Indices of one process's rows of each batch: each row once an epoch, in one process or many.

    A batch has `batch_size` rows for each process; the last one, what is left, split evenly. The order of an epoch
    depends on `order` and the epoch alone, so a resumed run goes on with the same batches.

    Args:
        rows: how many there are.
        batch_size: of each process.
        rank, processes: which process of how many.
        order: the seed of the order; None leaves the rows in their own.
        at_once: how many batches of one process are handed over as one.
    """

    def __init__(self, rows, batch_size, rank=0, processes=1, order=None, at_once=1):
        self.rows, self.batch_size, self.rank, self.processes, self.order = rows, batch_size, rank, processes, order
        self.at_once, self.epoch = at_once, 0

    def __iter__(self):
        if self.order is None:
            rows = torch.arange(self.rows)
        else:
            rows = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.order + self.epoch))
        for batch in rows.split(self.batch_size * self.processes * self.at_once):
            yield batch[self.rank :: self.processes]

    def __len__(self):
        return -(-self.rows // (self.batch_size * self.processes * self.at_once))

    def share(self, batch):
        """This process's rows of batch number `batch`, over the mean of all processes: 1, but for the last batch."""
        rows = min(self.batch_size * self.processes, self.rows - batch * self.batch_size * self.processes)
        return len(range(self.rank, rows, self.processes)) * self.processes / rows
