"""The checkpoints of a pack: those of Lightning, without the parts of a training by Lightning."""

import pytorch_lightning

from torchbp import __version__
from torchbp.training.atomic_write import atomic_save


def checkpoint_of(model, data, options):
    """What `best.ckpt` holds of a `PackNetwork`, the `TabularData` that it was trained on, and {name: value} of the
    training's options."""
    return {
        "hyper_parameters": dict(model.hparams),
        "state_dict": model.state_dict(),
        "datamodule_hyper_parameters": dict(data.hparams),
        "TabularData": {"order": None, "rows": data.saved_rows, "label_kind": data.table.label_kind},
        "torchbp_version": __version__,
        "pytorch-lightning_version": pytorch_lightning.__version__,
        "epoch": 0,
        "global_step": 0,
    } | options


def write_checkpoints(model, data, options, folder):
    """Write last.ckpt, from which a killed run goes on, and best.ckpt, which is the same."""
    checkpoint = checkpoint_of(model, data, options)
    for name in ("last.ckpt", "best.ckpt"):
        atomic_save(checkpoint, folder / name)
