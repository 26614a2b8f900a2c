"""Which rows a network is trained on, in a few numbers that its checkpoint keeps: changed rows are noticed.

Row n has a hash of 64 bits, h_n = m(Σ_j c_j b_nj): b_nj are the bits of its features and labels, c_j odd constants,
and m mixes the bits of a number (the finalizer of splitmix64). All sums are modulo 2⁶⁴.

    order = digest of h_1 … h_N        rows, labels and their order
    rows  = Σ_n h_n                    the same in any order
    split = digest of the indices of the training, validation and test rows
"""

import hashlib

import numpy as np

from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.errors import UserError


def fingerprint(features, labels, splits):
    """The fingerprint of rows: float32 features `(N, F)`, int64 labels `(N,)` or `(N, L)`, and the splits' indices."""
    hashes = _row_hashes(features.numpy(), labels.numpy())
    return {
        "count": len(hashes),
        "order": _digest(hashes),
        "rows": f"{hashes.sum():016x}",
        "split": _digest(*(rows.numpy() for rows in splits.values())),
    }


def check_fingerprint(saved, current, source, table):
    """Raise a UserError that says what is different, if the checkpoint's fingerprint is not that of these rows."""
    if not isinstance(saved, dict) or any(type(saved.get(key)) is not type(of) for key, of in current.items()):
        raise UserError("the checkpoint's fingerprint of its rows is damaged; train a new network")
    if saved != current:
        raise UserError(
            f"{source} does not have the rows that this network was trained on: {_difference(saved, current, table)}. "
            "Some of those may be among the test rows now; give the data as it was, or train a new network"
        )


def _row_hashes(features, labels):
    """h, uint64 `(N,)`. Every nan has the same bits."""
    labels = labels.reshape(len(labels), -1)
    c = _mixed(np.arange(1, 1 + features.shape[1] + labels.shape[1], dtype=np.uint64)) | 1
    hashes = np.empty(len(features), np.uint64)
    for at in range(0, len(hashes), ROWS_AT_ONCE):
        rows = slice(at, at + ROWS_AT_ONCE)
        bits = features[rows].view(np.uint32).astype(np.uint64)
        bits[np.isnan(features[rows])] = 0x7FC00000
        hashes[rows] = np.concatenate([bits, labels[rows].astype(np.uint64)], 1) @ c
    return _mixed(hashes)


def _mixed(h):
    """The numbers with their bits mixed, in place: one bit of a number changes half of its bits."""
    h ^= h >> 30
    h *= 0xBF58476D1CE4E5B9
    h ^= h >> 27
    h *= 0x94D049BB133111EB
    h ^= h >> 31
    return h


def _digest(*arrays):
    blake = hashlib.blake2b(digest_size=16)
    for array in arrays:
        blake.update(len(array).to_bytes(8, "little"))
        blake.update(array)
    return blake.hexdigest()


def _difference(saved, current, table):
    more = current["count"] - saved["count"]
    if more > 0:
        first = slice(saved["count"])
        at_the_end = _digest(_row_hashes(table.features[first].numpy(), table.labels[first].numpy())) == saved["order"]
        return f"{_were(more)} added{' at the end' if at_the_end else ''}"
    if more < 0:
        return f"{_were(-more)} removed"
    if current["rows"] != saved["rows"]:
        return "values or labels in its rows have changed"
    if current["order"] != saved["order"]:
        return "its rows are in another order"
    return "its rows are the same, but another version of scikit-learn splits them in another way"


def _were(rows):
    return f"{rows} row{'s were' if rows > 1 else ' was'}"
