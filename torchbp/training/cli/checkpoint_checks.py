"""Whether the checkpoint of a run that is resumed fits its network, its data and its Trainer."""

from torchbp.training.checkpoints.compatibility import check_resume, check_same_settings
from torchbp.training.checkpoints.tensors import check_optimizer_states


def check_checkpoint(command):
    """Raise a UserError or SettingError if the checkpoint contradicts the settings or the rows of the command."""
    checkpoint, path = command.checkpoint, command.settings.ckpt_path
    check_same_settings(command.trained.hparams, command.model.hparams, path)
    data = dict(command.datamodule.hparams)
    del data["source"]  # the same rows may lie elsewhere
    check_same_settings(checkpoint["datamodule_hyper_parameters"], data, path)
    command.datamodule.check_rows(checkpoint["TabularData"])
    check_optimizer_states(checkpoint["optimizer_states"], command.trained.net, path)
    check_resume(checkpoint, command.trainer, command.datamodule, command.model.hparams.engine)
