"""The dimension of softmax and log_softmax: which is taken where none is given, and of which there are equations."""

import warnings


def chosen_dim(name, dim, input, stacklevel):
    """`dim`, or where it is None torch's old choice, with a warning: 0 for 0, 1 and 3 dimensions, and otherwise 1."""
    if dim is not None:
        return dim
    warnings.warn(
        f"{name} without dim takes 0 or 1 by the dimensions of its input, which is deprecated; give dim=…",
        stacklevel=stacklevel + 1,
    )
    return 0 if input.dim() in (0, 1, 3) else 1


def of_rows(tree):
    """The equation of a function of `dim` where the sum runs over the units of a row; None along another dimension."""
    return lambda dim=None: tree if dim in (None, 1, -1) else None
