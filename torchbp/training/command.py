"""`torchbp fit`, `validate`, `test` and `predict`: a LightningCLI with short errors and closing lines."""

import logging
import math
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning.cli import LightningCLI

from torchbp.training.arguments import GROUPS, LINKED, Parser, configs_first, nearest
from torchbp.training.errors import SettingError, UserError
from torchbp.training.files import check_output, read_checkpoint, write_whole
from torchbp.training.progress import EpochProgress
from torchbp.training.stopping import UntilMinimum

METRICS = {"val/loss": "min", "val/accuracy": "max", "train/loss": "min"}  # and which end of each is the best


def main(arguments):
    """Run a training command. Returns the exit status: 0, 1 for unusable data, 2 for an unusable argument."""
    quieten()
    try:
        command = Command(
            GROUPS["model"],
            GROUPS["data"],
            args=configs_first(arguments),
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False, "prog": "torchbp"},
            trainer_defaults={
                "logger": {
                    "class_path": "pytorch_lightning.loggers.CSVLogger",
                    "init_args": {"save_dir": "runs", "name": "run"},
                },
                "devices": 1,
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
    except Exception as error:
        if not (isinstance(error, OSError) or raised_by(error) in ("pytorch_lightning", "lightning_fabric")):
            raise  # a defect of ours
        print(f"torchbp: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2
    return command.status


def raised_by(error):
    """The package whose code raised the error."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame.f_globals.get("__name__", "").split(".")[0]


def quieten():
    """Lightning's tips, adverts and device inventories are not what the user asked for."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    warnings.filterwarnings("ignore", "The dirpath has changed")
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint need to be provided.*")


class Command(LightningCLI):
    """The training commands over fixed classes: no checkpoint can name code to run (a config can: a logger's)."""

    status = 0

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
        for name in LINKED:
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass, subcommand, **kwargs):
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument("--output", default="predictions.csv", help="The CSV file to write.")
            parser.add_argument("--overwrite", type=bool, default=False, help="Whether to replace that file.")
        return parser

    @property
    def settings(self):
        return self.config[self.config.subcommand]

    def _set_seed(self):
        seed = self.settings.seed_everything
        if not isinstance(seed, bool) and not 0 <= seed < 2**32:
            raise SettingError(f"seed_everything={seed} must lie between 0 and 2³² − 1")
        super()._set_seed()

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
        best, mode = METRICS.get(monitor), self.settings.checkpoint.mode
        if best is not None and mode != best:  # best.ckpt would be the worst
            end = {"min": "lowest", "max": "highest"}[best]
            raise SettingError(f"{monitor} is best where it is {end}; add --checkpoint.mode {best}")
        if self.checkpoint is not None:
            self.compare("hyper_parameters", self.model.hparams)
            if self.subcommand != "predict":  # it may have rows of its own
                self.compare("datamodule_hyper_parameters", self.datamodule.hparams)

    def compare(self, part, ours):
        """Refuse a checkpoint of other settings, or of other data."""
        theirs = self.checkpoint.get(part, {})
        if theirs.get("feature_names") is None:  # of a network that was trained from Python
            ours = {name: value for name, value in ours.items() if name != "feature_names"}
        for name, value in ours.items():
            if theirs.get(name) != value:
                had, has = theirs.get(name), value
                if name == "feature_names" and len(had) == len(has):
                    had, has = next(pair for pair in zip(had, has, strict=True) if pair[0] != pair[1])
                raise SettingError(
                    f"the checkpoint has {name}={had}, and this command {has}; use the config it was trained with: "
                    f"{Path(self.settings.ckpt_path).parent.parent / 'config.yaml'}"
                )

    def instantiate_trainer(self, **kwargs):
        trainer = self.new_trainer(**kwargs)
        if trainer.world_size > 1:  # each would train on all rows
            raise SettingError(
                f"training is for one process, and this would start {trainer.world_size}; use --trainer.devices 1"
            )
        return trainer

    def new_trainer(self, **kwargs):
        if self.subcommand == "fit":
            return super().instantiate_trainer(**kwargs)
        # the others write no run folder and stop at no minimum
        settings = self._get(self.config_init, "trainer")
        return self.trainer_class(**{**settings, "logger": False, "enable_checkpointing": False})

    def fit(self, **arguments):
        try:
            self.trainer.fit(**arguments | {"weights_only": True})
        except (KeyboardInterrupt, SystemExit):  # Lightning has stopped cleanly, and exits
            self.status = 130
        self.close()

    def close(self):
        """Why training stopped, what it reached, where it lies, and what to type next."""
        trainer, checkpoint = self.trainer, self.trainer.checkpoint_callback
        stopping = next(c for c in trainer.callbacks if isinstance(c, UntilMinimum))
        epochs = trainer.current_epoch
        print(f"stopped  after {epochs} epoch{'s' * (epochs != 1)}: {stopping.reason(trainer)}")
        if trainer.fast_dev_run:
            return  # it has no run folder
        run = trainer.log_dir
        config = shlex.quote(shown(Path(run) / "config.yaml"))
        best, last = checkpoint.best_model_path, checkpoint.last_model_path
        if not math.isfinite(trainer.callback_metrics.get("train/loss", 0)):
            self.status = 1
        path = best or last
        if self.status == 0 and path:
            trainer.loggers = []  # metrics.csv is of the training
            scores = trainer.validate(self.model, self.datamodule, path, verbose=False, weights_only=True)
            figures = "".join(f"{name} {value:.4f}  " for name, value in (scores[0] if scores else {}).items())
            print(f"{'best' if best else 'last'}     {figures}in {shown(path)}")
        print(f"run      {shown(run)}")
        if self.status == 0 and path:
            print(f"next     {program()} test -c {config} --ckpt_path {shlex.quote(shown(path))}")
        if self.status == 130 and last:
            print(f"resume   {program()} fit -c {config} --ckpt_path {shlex.quote(shown(last))}")

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
        frame = pd.DataFrame(probabilities.float().numpy(), columns=[f"P({name})" for name in named])
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
