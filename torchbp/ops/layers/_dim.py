"""The dimension that softmax and log_softmax take where none is given."""

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
