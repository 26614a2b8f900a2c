"""`torchbp fit`, `validate`, `test` and `predict`: a LightningCLI with short errors and closing lines."""

import logging
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from torchbp.training.arguments import GROUPS, Parser, check_syntax, nearest
from torchbp.training.errors import SettingError, UserError
from torchbp.training.files import check_output, read_checkpoint, write_whole
from torchbp.training.progress import EpochProgress
from torchbp.training.stopping import UntilMinimum

METRICS = ("val/loss", "val/accuracy", "train/loss")


def main(arguments):
    """Run a training command. Returns the exit status: 0, 1 for unusable data, 2 for an unusable argument."""
    quieten()
    sys.argv[1:] = []  # LightningCLI warns of arguments in two places
    try:
        check_syntax(arguments)
        Command(
            GROUPS["model"],
            GROUPS["data"],
            args=arguments,
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False},
            trainer_defaults={
                "logger": {
                    "class_path": "pytorch_lightning.loggers.CSVLogger",
                    "init_args": {"save_dir": "runs", "name": "run"},
                },
                "max_epochs": 200,
                "log_every_n_steps": 1,
                "enable_model_summary": False,
                "enable_progress_bar": False,
                "callbacks": EpochProgress(),
            },
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )
    except UserError as error:
        print(f"torchbp: error: {error}", file=sys.stderr)
        return error.status
    return 0


def quieten():
    """Lightning's tips, adverts and device inventories are not what the user asked for."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")


class Command(LightningCLI):
    """The training commands over fixed classes: no file, and no checkpoint, can name other code to run."""

    def add_arguments_to_parser(self, parser):
        for name in ("stopping", "checkpoint"):
            parser.add_lightning_class_args(GROUPS[name], name)
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/loss",
                "checkpoint.filename": "best",
                "checkpoint.save_last": True,
                "checkpoint.auto_insert_metric_name": False,
            }
        )
        parser.link_arguments("data.num_features", "model.in_features", apply_on="instantiate")
        parser.link_arguments("data.classes", "model.classes", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass, subcommand, **kwargs):
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("--output", default="predictions.csv", help="The CSV file to write.")
            parser.add_argument("--overwrite", type=bool, default=False, help="Whether to replace that file.")
        return parser

    @property
    def settings(self):
        return self.config[self.config.subcommand]

    def _parse_ckpt_path(self):
        # Lightning's own lets a checkpoint's hyperparameters silently beat the user's; ours compares, once both exist
        command, path = self.config.subcommand, self.settings.get("ckpt_path")
        self.checkpoint = read_checkpoint(path) if path else None
        if command != "fit" and not path:
            raise SettingError(
                f"{command} needs a trained network: add --ckpt_path runs/…/checkpoints/best.ckpt, which fit printed"
            )
        if command == "predict":
            check_output(Path(self.settings.output), self.settings.overwrite)

    def after_instantiate_classes(self):
        monitor = self.settings.checkpoint.monitor
        if monitor not in (None, *METRICS):
            raise SettingError(
                f"checkpoint.monitor={monitor!r} is not a metric of training; {nearest(monitor, METRICS)}"
            )
        if self.checkpoint is None:
            return
        theirs = self.checkpoint["hyper_parameters"]
        for name, ours in self.model.hparams.items():
            if theirs.get(name) != ours:
                raise SettingError(
                    f"the checkpoint has {name}={theirs.get(name)}, and this command {ours}; use the config it was "
                    f"trained with: {Path(self.settings.ckpt_path).parent.parent / 'config.yaml'}"
                )

    def instantiate_trainer(self, **kwargs):
        try:
            if self.subcommand == "fit":
                return super().instantiate_trainer(**kwargs)
            # the others write no run folder and stop at no minimum
            settings = self._get(self.config_init, "trainer")
            return self.trainer_class(**{**settings, "logger": False, "enable_checkpointing": False})
        except (MisconfigurationException, ValueError) as error:
            raise SettingError(f"trainer: {str(error).splitlines()[0]}") from error

    def fit(self, **arguments):
        self.trainer.fit(**arguments | {"weights_only": True})
        if not self.trainer.is_global_zero:
            return
        stopping = next(c for c in self.trainer.callbacks if isinstance(c, UntilMinimum))
        checkpoint, run = self.trainer.checkpoint_callback, self.trainer.log_dir
        best = checkpoint.best_model_path
        epochs = self.trainer.current_epoch
        print(f"stopped  after {epochs} epoch{'s' * (epochs != 1)}: {stopping.reason(self.trainer)}")
        if best:
            scores = self.trainer.validate(self.model, self.datamodule, best, verbose=False, weights_only=True)[0]
            print(f"best     {'  '.join(f'{name} {value:.4f}' for name, value in scores.items())}  in {shown(best)}")
        print(f"run      {shown(run)}")
        if best:
            config = shlex.quote(shown(Path(run) / "config.yaml"))
            print(f"next     {program()} test -c {config} --ckpt_path {shlex.quote(shown(best))}")

    def validate(self, **arguments):
        self.evaluate(self.trainer.validate, arguments)

    def test(self, **arguments):
        self.evaluate(self.trainer.test, arguments)

    def evaluate(self, run, arguments):
        for name, value in run(**arguments | {"verbose": False, "weights_only": True})[0].items():
            print(f"{name:<14} {value:.4f}")

    def predict(self, **arguments):
        batches = self.trainer.predict(**arguments | {"return_predictions": True, "weights_only": True})
        probabilities = torch.cat(batches)
        classes = self.datamodule.classes
        named = classes[1:] if len(classes) == 2 else classes
        frame = pd.DataFrame(probabilities.numpy(), columns=[f"P({name})" for name in named])
        frame["class"] = [classes[i] for i in self.model.predicted(probabilities)]
        frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
        write_whole(frame, Path(self.settings.output))
        print(f"wrote    {self.settings.output}: {len(frame)} rows")


def shown(path):
    """A path relative to the current folder where it lies in it."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)


def program():
    """How this program was called, so that the line it prints can be pasted."""
    name = sys.argv[0]
    if name.endswith("__main__.py"):
        return f"{shlex.quote(sys.executable)} -m torchbp"
    return "torchbp" if shutil.which("torchbp") == name else shlex.quote(shown(name))
