"""The rows of x that a network is given."""

import torch

from torchbp.engine.network.module_checks import described


def check_rows(network, x):
    """Raises an error that names x, where the first layer's has other words for it.

    Raises:
        TypeError: it is no tensor.
        RuntimeError: another device, or of rows of features another dtype or number of features.
    """
    first, weight = network.named[0][1], network.first_parameter
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x is {described('', x)}; give a tensor, as torch.as_tensor makes one")
    if x.device != weight.device:
        raise RuntimeError(f"x is on {x.device}, and the model on {weight.device}; use x.to(…) first")
    features = getattr(first, "in_features", None)
    if features is not None and x.dtype is not weight.dtype:
        raise RuntimeError(f"x is {x.dtype}, and the model {weight.dtype}; give x.to({weight.dtype})")
    if features not in (None, *x.shape[-1:]):
        raise RuntimeError(f"x has the shape {tuple(x.shape)}, and the model takes {features} features")


def rows_of_members(x, members):
    """The rows of each member, (E, N, in_features); those that they share, (N, in_features), are not copied."""
    if x.dim() == 2:
        return x.expand(members, -1, -1)
    if x.dim() != 3 or len(x) != members:
        raise ValueError(
            f"x has the shape {tuple(x.shape)}; give (N, in_features), rows that all members share, or "
            f"({members}, N, in_features), those of each member"
        )
    return x
