"""Which rows a network is trained on, in a few numbers that its checkpoint keeps: other rows are noticed by them.

Row n has a hash of 64 bits, h_n = m(Σ_j c_j b_nj): b_nj are the bits of its features and labels, c_j odd constants,
and m mixes the bits of a number (the finalizer of splitmix64). All sums are modulo 2⁶⁴.

    order = digest of h_1 … h_N        rows, labels and their order
    rows  = Σ_n h_n                    the same in any order
    split = digest of the indices of the training, validation and test rows
"""

import hashlib

import numpy as np

ROWS_AT_ONCE = 4096  # which a processor's cache holds


def fingerprint(features, labels, splits):
    """What a checkpoint keeps of rows: float32 features `(N, F)`, int64 labels `(N,)` or `(N, L)`, and the splits'
    tensors of indices."""
    hashes = row_hashes(features.numpy(), labels.numpy())
    return {
        "count": len(hashes),
        "order": digest(hashes),
        "rows": f"{hashes.sum():016x}",
        "split": digest(*(rows.numpy() for rows in splits.values())),
    }


def row_hashes(features, labels):
    """h, uint64 `(N,)`. Every nan is the same one."""
    labels = labels.reshape(len(labels), -1)
    c = mixed(np.arange(1, 1 + features.shape[1] + labels.shape[1], dtype=np.uint64)) | 1
    hashes = np.empty(len(features), np.uint64)
    for at in range(0, len(hashes), ROWS_AT_ONCE):
        rows = slice(at, at + ROWS_AT_ONCE)
        bits = features[rows].view(np.uint32).astype(np.uint64)
        bits[np.isnan(features[rows])] = 0x7FC00000
        hashes[rows] = np.concatenate([bits, labels[rows].astype(np.uint64)], 1) @ c
    return mixed(hashes)


def mixed(h):
    """Each number's bits, mixed in place: one bit of it changes half of them."""
    h ^= h >> 30
    h *= 0xBF58476D1CE4E5B9
    h ^= h >> 27
    h *= 0x94D049BB133111EB
    h ^= h >> 31
    return h


def digest(*arrays):
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(len(array).to_bytes(8, "little"))
        found.update(array)
    return found.hexdigest()


def difference(had, has, features, labels):
    """What is different, in a few words, between the rows whose fingerprint is `had` and those whose it is `has`."""
    more = has["count"] - had["count"]
    if more > 0:
        first = slice(had["count"])
        at_the_end = digest(row_hashes(features[first].numpy(), labels[first].numpy())) == had["order"]
        return f"{counted(more)} added{' at the end' if at_the_end else ''}"
    if more < 0:
        return f"{counted(-more)} removed"
    if has["rows"] != had["rows"]:
        return "values or labels in its rows have changed"
    if has["order"] != had["order"]:
        return "its rows are in another order"
    return "its rows are the same, and are split in another way, by another version of scikit-learn"


def counted(rows):
    return f"{rows} row{'s were' if rows > 1 else ' was'}"
