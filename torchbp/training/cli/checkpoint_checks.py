"""Whether the checkpoint of a command fits its network, its data and its Trainer."""

import sys

from torchbp.cli.keys import LINKED
from torchbp.printing import say
from torchbp.training.checkpoints.compatibility import changed_settings, check_resume, check_same_settings
from torchbp.training.checkpoints.tensors import check_optimizer_states
from torchbp.training.cli.processes import rank
from torchbp.training.data.tabular import TabularData
from torchbp.training.model.network import Network


def check_checkpoint(command):
    """Raise a UserError or SettingError if the checkpoint contradicts the settings or the rows of the command."""
    checkpoint, path = command.checkpoint, command.settings.ckpt_path
    saved = command.trained.hparams
    if command.command == "predict":
        check_same_settings(saved, changed_settings(command.settings.model, Network), path)
        return
    resumed = command.command == "fit"
    model = {name: value for name, value in command.model.hparams.items() if resumed or name not in LINKED}
    check_same_settings(saved, model, path)
    data = dict(command.datamodule.hparams)
    source = {"source": data.pop("source")}  # the same rows may lie elsewhere
    saved = checkpoint.get("datamodule_hyper_parameters", {})
    check_same_settings(saved, data, path)
    if not resumed:
        command.model = command.trained
        command.datamodule = TabularData.of_checkpoint(
            checkpoint, path, **source, batch_size=command.datamodule.batch_size
        )
        for label, text in command.datamodule.table.lines:
            if label == "note" and rank() == 0:
                say(label, text, sys.stderr)
    else:
        command.datamodule.check_rows(checkpoint["TabularData"])
        check_optimizer_states(checkpoint["optimizer_states"], command.trained.net, path)
        check_resume(checkpoint, command.trainer, command.datamodule, command.model.hparams.engine)
