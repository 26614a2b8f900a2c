"""What Lightning would say and write in a run that nobody asked for."""

import logging
import warnings

from pytorch_lightning.cli import SaveConfigCallback

from torchbp.training.checkpoints.compatibility import has_folder


def quieten():
    """Lightning's tips, adverts and device inventories are not what the user asked for."""
    talkers = "pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators", "lightning_fabric"
    for name in (*talkers, "lightning_fabric.utilities.seed"):
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
    """Writes the run's config.yaml, without what is of this run alone: its folder, and where it went on from."""

    def __init__(self, parser, config, **arguments):
        config = config.clone()
        config.ckpt_path = None
        if has_folder(config.trainer.logger):
            config.trainer.logger.init_args.version = None
        super().__init__(parser, config, overwrite=True, **arguments)
