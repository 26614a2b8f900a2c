"""Silence Lightning's tips; write a config.yaml that starts the run again."""

import logging
import warnings

from pytorch_lightning.cli import SaveConfigCallback

from torchbp.training.cli.run_settings import has_run_folder


def silence_lightning():
    """Hide Lightning's tips, advertisements and lists of devices."""
    loggers = "pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators", "lightning_fabric"
    for name in (*loggers, "lightning_fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        "LightningCLI's args parameter",
        "Checkpoint directory .* exists and is not empty",
        ".*callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", message)


class SaveConfig(SaveConfigCallback):
    """Writes the run's config.yaml, without the run's own folder and the checkpoint that it was resumed from."""

    def __init__(self, parser, config, **arguments):
        config = config.clone()
        config.ckpt_path = None
        if has_run_folder(config.trainer.logger):
            config.trainer.logger.init_args.version = None
        super().__init__(parser, config, overwrite=True, **arguments)
