"""Which rows a network is trained on: a hash of each, which its checkpoint keeps with their split.

Row n has a hash of 64 bits, h_n = m(Σ_j c_j b_nj): b_nj are the bits of its features and labels, c_j odd constants, and
m mixes the bits of a number (the finalizer of splitmix64). All sums are modulo 2⁶⁴. A row is found again wherever it
stands in the file, and a row that was changed is another one.
"""

import numpy as np
import torch

from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.errors import UserError

CHANGED = 0.5  # a file that shares more of its rows with the training file is that file, or that file changed


def row_hashes(features, labels):
    """h, int64 `(N,)`, of float32 features `(N, F)` and labels `(N,)` or `(N, L)`. Every nan has the same bits."""
    labels = labels.reshape(len(labels), -1)
    labels = labels.astype(np.float32).view(np.uint32) if labels.dtype.kind == "f" else labels
    c = _mixed(np.arange(1, 1 + features.shape[1] + labels.shape[1], dtype=np.uint64)) | 1
    hashes = np.empty(len(features), np.uint64)
    for at in range(0, len(hashes), ROWS_AT_ONCE):
        rows = slice(at, at + ROWS_AT_ONCE)
        bits = (features[rows] + np.float32(0)).view(np.uint32).astype(np.uint64)  # −0 becomes 0
        bits[np.isnan(features[rows])] = 0x7FC00000
        hashes[rows] = np.concatenate([bits, labels[rows].astype(np.uint64)], 1) @ c
    return _mixed(hashes).view(np.int64)


def _mixed(h):
    """The numbers with their bits mixed, in place: one bit of a number changes half of its bits."""
    h ^= h >> 30
    h *= 0xBF58476D1CE4E5B9
    h ^= h >> 27
    h *= 0x94D049BB133111EB
    h ^= h >> 31
    return h


def saved_rows(state):
    """The hashes, int64 `(N,)`, and the splits in a checkpoint's `state_dict` of the data.

    Raises:
        UserError: it has none, or they are damaged.
    """
    try:
        hashes, splits = state["rows"]["hashes"], {name: rows.long() for name, rows in state["rows"]["splits"].items()}
        valid = hashes.dtype == torch.int64 and hashes.dim() == 1 and set(splits) == {"train", "val", "test"}
        valid &= all(not len(rows) or 0 <= rows.min() <= rows.max() < len(hashes) for rows in splits.values())
    except (AttributeError, KeyError, RuntimeError, TypeError):
        valid = False
    if not valid:
        raise UserError("the checkpoint does not say which rows it was trained on; train a new network")
    return hashes.numpy(), splits


def rows_to_save(table):
    """What a checkpoint keeps of a table: the hash of each row, and the splits."""
    hashes = row_hashes(table.features.numpy(), table.labels.numpy())
    splits = {name: rows.to(torch.int32) for name, rows in table.splits.items()}
    return {"hashes": torch.from_numpy(hashes), "splits": splits}


def change_of_rows(state, current, splits):
    """In words, how a table, with these hashes and splits, differs from that of a checkpoint's `state_dict` of the
    data; "" where it does not.

    Raises:
        UserError: as `saved_rows`.
    """
    saved, saved_splits = saved_rows(state)
    if not np.array_equal(saved, current):
        if order_of(saved, current) is not None:
            return "its rows are in another order, and a resumed run takes them by their places"
        return difference(saved, current)
    if all(torch.equal(rows, splits[name]) for name, rows in saved_splits.items()):
        return ""
    return "its rows are the same, but they are split in another way"


def order_of(saved, current):
    """Where the saved rows stand now, indices `(N,)`, if the current rows are the same in any order; else None."""
    if len(saved) != len(current):
        return None
    old, new = np.argsort(saved, kind="stable"), np.argsort(current, kind="stable")
    if not np.array_equal(saved[old], current[new]):
        return None
    places = np.empty(len(old), np.int64)
    places[old] = new
    return places


def shared_rows(saved, current):
    """How many of the current rows are among the saved ones, each of which counts once."""
    values, counts = np.unique(saved, return_counts=True)
    others, times = np.unique(current, return_counts=True)
    _, old, new = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    return int(np.minimum(counts[old], times[new]).sum())


def difference(saved, current):
    """What has changed in a file that shares most of its rows with the saved ones, in words."""
    more, same = len(current) - len(saved), shared_rows(saved, current)
    if more > 0 and same == len(saved):
        return f"{_were(more)} added"
    if more < 0 and same == len(current):
        return f"{_were(-more)} removed"
    return f"{len(current) - same} of its {len(current)} rows are others"


def _were(rows):
    return f"{rows} row{'s were' if rows > 1 else ' was'}"
