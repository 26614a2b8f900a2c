"""The batches of rows in memory, for each process of a run."""

import torch
from torch.utils.data import DistributedSampler

ROWS_AT_ONCE = 8192  # in a pass over many rows, of a split or of a file: it bounds the memory
MOST_BATCHES_AT_ONCE = 64  # in one step of Lightning's loop: it bounds the time until Ctrl-C is handled


class Loader:
    """The batches of rows in memory: (x, y), or (x, y, weights). Each is one indexing of the tensors, without the
    machinery of a DataLoader.

    Lightning treats it as a DataLoader because it has a `sampler`, to which it gives the epoch, and a `batch_sampler`.
    Batches for a GPU are in pinned memory, from which they are copied asynchronously.
    """

    batch_sampler = None

    def __init__(self, tensors, sampler, pinned=False):
        self.tensors, self.sampler, self.pinned = tensors, sampler, pinned

    def __iter__(self):
        for rows in self.sampler:
            yield tuple(self._take(tensor, rows) for tensor in self.tensors)

    def _take(self, tensor, rows):
        out = torch.empty(len(rows), *tensor.shape[1:], dtype=tensor.dtype, pin_memory=self.pinned)
        return torch.index_select(tensor, 0, rows, out=out)

    def __len__(self):
        return len(self.sampler)


class Batches(DistributedSampler):  # of this class, so that Lightning does not replace it
    """Indices of one process's rows of each batch: each row once an epoch, in one process or in many.

    A batch has `batch_size` rows for each process; the last one has the remaining rows, divided evenly. The order in an
    epoch depends on `order` and the epoch alone, so a resumed run continues with the same batches.

    Args:
        rows: how many there are.
        batch_size: of each process.
        rank, processes: the number of this process, and of how many.
        order: the seed of the order; None does not shuffle.
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
        """This process's rows of a batch over the mean of all processes: 1, except in the last batch. `batch`: its
        number."""
        rows = min(self.batch_size * self.processes, self.rows - batch * self.batch_size * self.processes)
        return len(range(self.rank, rows, self.processes)) * self.processes / rows
