"""Whether the checkpoint of a command fits its network, its data and its Trainer."""

import sys

from torchbp.printing import say
from torchbp.training.checkpoints.compatibility import changed_settings, check_resume, check_same_settings
from torchbp.training.checkpoints.tensors import check_optimizer_states
from torchbp.training.cli.processes import rank
from torchbp.training.model.network import Network

UNKNOWN_ROWS = (
    "{} does not say which rows it was trained on, because an older torchbp wrote it. If {} has changed since, some of "
    "its test rows may be training rows"
)


def check_checkpoint(command):
    """Raise a UserError or SettingError if the checkpoint contradicts the settings or the rows of the command."""
    checkpoint, path = command.checkpoint, command.settings.ckpt_path
    saved = command.trained.hparams
    if command.command == "predict":
        check_same_settings(saved, changed_settings(command.settings.model, Network), path)
        return
    check_same_settings(saved, command.model.hparams, path)
    data = dict(command.datamodule.hparams)
    source = {"source": data.pop("source")}  # the same rows may lie elsewhere
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    check_same_settings(saved, data, path)
    if not command.datamodule.check_rows(checkpoint.get("TabularData", {})):
        check_same_settings(saved, source, path)
        if rank() == 0:
            say("note", UNKNOWN_ROWS.format(path, command.datamodule.source), sys.stderr)
    if command.command == "fit":
        check_optimizer_states(checkpoint["optimizer_states"], command.trained.net, path)
        check_resume(checkpoint, command.trainer, command.datamodule, command.model.hparams.engine)
