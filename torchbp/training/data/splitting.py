"""The split of a table's rows into training, validation and test rows."""

import torch
from sklearn.model_selection import train_test_split

from torchbp.training.errors import UserError


def split_rows(source, table, val_fraction, test_fraction, seed):
    """{"train", "val", "test": indices of rows}: seeded, and class by class where each row has one class.

    Raises:
        UserError: a split would lack a class.
    """
    rows = torch.arange(len(table.labels))
    if source == "xor":  # four rows: each split has them all
        return {"train": rows, "val": rows, "test": rows}
    labels = table.labels if table.labels.ndim == 1 else None
    if labels is not None:
        counts = torch.bincount(labels, minlength=len(table.classes))
        if counts.min() < 3:
            raise UserError(
                f"{source} has too few rows of the class {table.classes[counts.argmin()]!r}, {counts.min()}; "
                "each of the three splits needs one: remove the class, or add rows of it"
            )

    def draw(rows, fraction):
        stratify = None if labels is None else labels[rows]
        return train_test_split(rows, test_size=fraction, random_state=seed, stratify=stratify)

    try:
        rest, test = draw(rows, test_fraction)
        train, val = draw(rest, val_fraction / (1 - test_fraction))
    except ValueError as error:  # its message says which split would be too small
        raise UserError(
            f"{source} has too few rows to split ({error}); add rows, or raise data.val_fraction or "
            "data.test_fraction, so that each split has a row of each class"
        ) from None
    return {"train": train, "val": val, "test": test}
