"""From a checkpoint to its trained network, which is refused if settings and tensors do not fit together."""

import inspect
import textwrap

import torch

from torchbp import __version__
from torchbp.training.checkpoints.tensors import check_numbers, check_shapes
from torchbp.training.data.columns import check_columns
from torchbp.training.errors import UserError


def load_network(cls, checkpoint, path):
    """The network of the class `cls`, from what `read_checkpoint` has read.

    Memory for the network is allocated only after the shapes of the checkpoint's tensors were compared with it.

    Raises:
        UserError: settings or tensors of another program, or weights that are not finite real numbers.
    """
    settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    _check_version(cls, checkpoint, path)
    try:
        _check_settings(settings, state)
        with torch.device("meta"):
            empty = cls(**settings)
        check_shapes(empty, state)
    except Exception as error:  # settings of another program may raise anything
        raise UserError(f"{path} is a checkpoint of another program: {_shortened(error)}") from None
    check_numbers(empty, state, path)
    model = cls(**settings)
    model.load_state_dict(state)
    return model.eval()


def _check_version(cls, checkpoint, path):
    """Refuse a setting that this version of torchbp does not know, if another version has written the checkpoint."""
    written, known = checkpoint.get("torchbp_version"), inspect.signature(cls).parameters
    unknown = [name for name in checkpoint["hyper_parameters"] if name not in known]
    if unknown and isinstance(written, str) and written != __version__:
        raise UserError(
            f"{path} was written by torchbp {textwrap.shorten(written, 40)}, and has the setting {unknown[0]!r}, which "
            f"torchbp {__version__} does not know; install that version"
        )


def _check_settings(settings, state):
    """Raise a ValueError for names that are not texts, or for more layers than the checkpoint has tensors."""
    classes, columns, hidden = (settings.get(name) for name in ("classes", "columns", "hidden"))
    fewest = 1 if settings.get("task") in ("regression", "multilabel") else 2
    if not _is_list_of(classes, str) or not fewest <= len(set(classes)) == len(classes):
        raise ValueError(f"its classes are not a list of different texts, at least {fewest}")
    if columns is not None:
        check_columns(columns)
    if (drawn := settings.get("configurations")) is not None:
        _check_pack(drawn, settings.get("fold_sizes"), state)
    if _is_list_of(hidden, int) and 2 * len(hidden) >= len(state):
        raise ValueError(f"it names {len(hidden)} hidden layers, and has {len(state)} tensors")


def _check_pack(drawn, fold_sizes, state):
    """The same of a pack: its networks must not be more, or deeper, than the tensors of the checkpoint."""
    if not _is_list_of(drawn, dict) or not _is_list_of(fold_sizes, int) or not fold_sizes:
        raise ValueError("its configurations or folds are no lists")
    chosen = [one for one in drawn if one["share"] > 0]
    layers = sum(len(one["hidden"]) + 1 + bool(one.get("frequency")) for one in chosen) * len(fold_sizes)
    tensors = sum(str(name).startswith("nets.") for name in state)
    if not layers or 2 * layers != tensors:
        raise ValueError(f"its networks have {layers} layers, and {tensors} tensors")


def _shortened(error):
    """The first line of an error, cut to 200 characters: it may quote a whole file."""
    return textwrap.shorten(str(error).partition("\n")[0], 200, placeholder=" …") or type(error).__name__


def _is_list_of(value, kind):
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
