"""`torchbp fit`, `validate`, `test` and `predict`: a LightningCLI with short errors. What it says last: closing.py."""

import contextlib
import importlib.util
import math
import signal
import sys
from pathlib import Path

from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.strategies import FSDPStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

from torchbp.printing import complain, quoted, say
from torchbp.training.callbacks.interruption import Interrupted, Interruption
from torchbp.training.callbacks.progress import EpochProgress
from torchbp.training.checkpoints.compatibility import (
    check_folder,
    check_processes,
    check_resume,
    check_trainer,
    compare,
    epochs_done,
    has_folder,
    set_by_user,
)
from torchbp.training.checkpoints.network import load_network
from torchbp.training.checkpoints.reading import read_checkpoint
from torchbp.training.checkpoints.saving import WholeFiles, continue_metrics, latest_best, run_folder
from torchbp.training.checkpoints.tensors import check_momenta
from torchbp.training.cli.arguments import GROUPS, LINKED, Parser, configs_first, reason_of_class
from torchbp.training.cli.lightning_quiet import SaveConfig, quieten
from torchbp.training.cli.predictions import SUFFIXES, check_output, predict
from torchbp.training.cli.processes import LostProcess, leave, raised_by, rank
from torchbp.training.cli.summary import close, close_early, resume_lines, shown
from torchbp.training.errors import SettingError, UserError
from torchbp.training.model.classifier import Classifier
from torchbp.training.model.trainer_settings import check_trainer_settings

DEFAULTS = {  # of the trainer
    "logger": {
        "class_path": "pytorch_lightning.loggers.CSVLogger",
        "init_args": {"save_dir": "runs", "name": "run"},
    },
    "devices": 1,
    "max_epochs": 200,
    "log_every_n_steps": 1,
    "enable_model_summary": False,
    "enable_progress_bar": False,
}

UNKNOWN_ROWS = (
    "{} does not say which rows it was trained on, since an older torchbp or another program made it: if {} has "
    "changed since, its test rows may be some of them"
)


def main(arguments):
    """Run a training command. Returns the exit status: 0, 1 for unusable data, 2 for an unusable argument, 128 and the
    number of the signal that has ended it."""
    quieten()
    if arguments[0] == "predict" and rank() > 0:
        return 0  # one process reads, computes and writes; the network is the least of it
    with Interruption() as interruption:
        Command.command, Command.interruption = arguments[0], interruption
        try:
            command = Command(
                GROUPS["model"],
                GROUPS["data"],
                args=configs_first(arguments),
                parser_class=Parser,
                parser_kwargs={"allow_abbrev": False, "prog": "torchbp"},
                save_config_callback=SaveConfig,
                trainer_defaults={**DEFAULTS, "callbacks": EpochProgress()},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        except (Exception, KeyboardInterrupt) as error:
            return leave(failed(error, interruption))
        return leave(command.status, together=True)


def failed(error, interruption):
    """Print the one line of an error, on stderr. Returns the exit status. A defect of ours is raised again."""
    if interruption.number:  # where a library was being imported, any error may come of it
        if rank() == 0:
            print("torchbp: interrupted before the first step", file=sys.stderr)
        return 128 + interruption.number
    if isinstance(error, UserError):
        if rank() == 0 or error.of_this_process:
            complain(error)
        return error.status
    message, by = " ".join(str(error).split()), raised_by(error)
    if by == "jsonargparse" and (reason := reason_of_class(str(error))):
        message = reason
    elif not isinstance(error, OSError) and by not in ("pytorch_lightning", "lightning_fabric"):
        raise
    if rank() == 0:
        complain(message)
    return 1 if isinstance(error, OSError) else 2


class Command(LightningCLI):
    """The training commands over fixed classes: no checkpoint can name code to run (a config can: a logger's)."""

    status = 0
    command = None  # the only one whose arguments are made ready
    interruption = None

    @staticmethod
    def subcommands():
        return {Command.command: LightningCLI.subcommands()[Command.command]}

    def add_core_arguments_to_parser(self, parser):
        if self.command != "predict":
            super().add_core_arguments_to_parser(parser)
            return
        # predict takes the file of any run, and builds neither the network nor the data from it
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in DEFAULTS.items()})
        parser.add_class_arguments(GROUPS["model"], "model", skip=set(LINKED), instantiate=False)
        parser.add_class_arguments(GROUPS["data"], "data", instantiate=False)

    def add_arguments_to_parser(self, parser):
        if self.command == "predict":
            for name in ("stopping", "gradients", "checkpoint"):
                parser.add_class_arguments(GROUPS[name], name, instantiate=False)
            parser.add_argument("--output", default="predictions.csv", help="The CSV or Parquet file to write.")
            parser.add_argument("--overwrite", type=bool, default=False, help="Whether to replace that file.")
            return
        for name in ("stopping", "gradients", "checkpoint"):
            parser.add_lightning_class_args(GROUPS[name], name)
        for name in LINKED:
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")

    @property
    def settings(self):
        return self.config[self.command]

    def _set_seed(self):
        seed = self.settings.seed_everything
        if not isinstance(seed, bool) and not 0 <= seed < 2**32:
            raise SettingError(f"seed_everything={seed} must lie between 0 and 2³² − 1")
        super()._set_seed()

    def _parse_ckpt_path(self):
        # Lightning's own lets a checkpoint's hyperparameters silently beat the user's; ours compares, once both exist
        path = self.settings.get("ckpt_path")
        self.checkpoint = read_checkpoint(path, whole=self.command == "fit") if path else None
        self.trained = load_network(Classifier, self.checkpoint, path) if path else None  # refuses another program's
        if self.command != "fit" and not path:
            logger = self.settings.trainer.logger
            best = latest_best(Path(logger.init_args.save_dir) / logger.init_args.name) if has_folder(logger) else None
            example = quoted(shown(best)) if best else "runs/…/checkpoints/best.ckpt, which fit printed"
            raise SettingError(f"{self.command} needs a trained network: add --ckpt_path {example}")
        if self.command == "predict":
            check_output(Path(self.settings.output), self.settings.data.source, self.settings.overwrite, SUFFIXES)

    def before_instantiate_classes(self):
        self.continued = None  # the folder of the run that goes on
        logger = self.settings.trainer.logger
        if self.command == "fit" and not self.settings.trainer.fast_dev_run and isinstance(logger, (bool, type(None))):
            raise SettingError(
                f"trainer.logger={logger}: a run needs a folder of its own; leave it out, or name a logger"
            )
        if self.command == "fit" and has_folder(logger):
            run = run_folder(self.settings.ckpt_path) if self.checkpoint is not None else None
            if run:
                self.continued = run
                logger.init_args.save_dir, logger.init_args.name = shown(run.parent.parent), run.parent.name
                logger.init_args.version = run.name
            check_folder(logger.init_args, self.continued, rank())

    def instantiate_classes(self):
        if self.command != "predict":
            super().instantiate_classes()
            return
        self.config_init = self.parser.instantiate_classes(self.config)
        self.model = self.trained
        self.datamodule = None
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self):
        if self.command == "fit":
            check_trainer_settings(self.trainer, self.datamodule, self.model)
        if self.checkpoint is not None:
            theirs = self.trained.hparams
            if self.command == "predict":
                compare(theirs, set_by_user(self.settings.model, Classifier), self.settings.ckpt_path)
                return
            compare(theirs, self.model.hparams, self.settings.ckpt_path)
            theirs, ours = self.checkpoint.get("datamodule_hyper_parameters", {}), dict(self.datamodule.hparams)
            source = {"source": ours.pop("source")}
            compare(theirs, ours, self.settings.ckpt_path)
            if not self.datamodule.check_rows(self.checkpoint.get("TabularData", {})):
                compare(theirs, source, self.settings.ckpt_path)  # otherwise it may lie anywhere
                if rank() == 0:
                    say("note", UNKNOWN_ROWS.format(self.settings.ckpt_path, self.datamodule.source), sys.stderr)
            if self.command == "fit":
                check_momenta(self.checkpoint["optimizer_states"], self.trained.net, self.settings.ckpt_path)
                check_resume(self.checkpoint, self.trainer, self.datamodule, self.model.hparams.engine)

    def instantiate_trainer(self, **kwargs):
        settings = self._get(self.config_init, "trainer")
        if self.command != "fit":  # the others write no run folder and stop at no minimum
            settings = {**settings, "logger": False, "enable_checkpointing": False}
            if self.command == "predict":
                settings |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
            trainer = self.trainer_class(**settings)
            trainer.callbacks.insert(0, self.interruption)
            return check_processes(trainer, self.command)
        loggers = settings.logger if isinstance(settings.logger, list) else [settings.logger]
        first = loggers[0]
        if isinstance(first, CSVLogger) and importlib.util.find_spec("tensorboard"):
            folder = first.save_dir, first.name, first.version
            # a longer queue than its 10 values: an epoch has more, and would wait for the file
            board = TensorBoardLogger(*folder, default_hp_metric=False, max_queue=1000)
            kwargs["logger"] = [*loggers, board]
        plugins = settings.plugins if isinstance(settings.plugins, list) else [settings.plugins]
        kwargs["plugins"] = [*(plugin for plugin in plugins if plugin is not None), WholeFiles()]
        trainer = check_processes(super().instantiate_trainer(**kwargs), self.command)
        if isinstance(trainer.strategy, FSDPStrategy) and (
            self.settings.stopping.min_grad_norm or self.settings.gradients.every_n_epochs != 0
        ):
            raise SettingError(
                "fsdp holds the weights in pieces; add --stopping.min_grad_norm 0 --gradients.every_n_epochs 0"
            )
        check_trainer(trainer)
        trainer.callbacks.insert(0, self.interruption)
        return trainer

    @contextlib.contextmanager
    def interruptible(self):
        with self.interruption.between_steps():
            try:
                yield
            except (Interrupted, SIGTERMException):  # Lightning's own, before our handler was there
                self.status = 128 + (self.interruption.number or signal.SIGTERM)

    def fit(self, **arguments):
        with self.interruptible():
            self.train(arguments)
            self.interruption.listen()  # Lightning has put back what was there before
            self.interruption.stop_together(self.trainer)
            close(self)
        if self.status > 1:
            close_early(self)

    def train(self, arguments):
        trainer = self.trainer
        if self.continued and rank() == 0:
            continue_metrics(trainer.loggers, self.continued, epochs_done(self.checkpoint))
        try:
            trainer.fit(**arguments | {"weights_only": True})
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if self.checkpoint is None or self.interruption.begun or isinstance(error, UserError):
                raise
            raise UserError(f"{self.settings.ckpt_path} cannot be gone on from: {error!r}") from None
        except RuntimeError as error:
            if trainer.world_size == 1 or raised_by(error) != "torch":
                raise
            for label, text in resume_lines(self):
                say(label, text, sys.stderr)
            raise LostProcess(
                f"process {trainer.global_rank} of {trainer.world_size} has lost the others: one was killed, or has "
                f"failed with an error of its own ({' '.join(str(error).split())[:100]})"
            ) from None

    def validate(self, **arguments):
        self.evaluate(self.trainer.validate, arguments)

    def test(self, **arguments):
        self.evaluate(self.trainer.test, arguments)

    def evaluate(self, run, arguments):
        with self.interruptible():
            scores = run(**arguments | {"verbose": False, "weights_only": True})[0]
            if self.trainer.is_global_zero:
                width = max(14, *map(len, scores))
                for name, value in scores.items():
                    print(f"{name:<{width}} {value:.4f}")
            if not all(map(math.isfinite, scores.values())):
                raise UserError(
                    f"a score is no finite number: some value in {self.datamodule.source} is too large for this network"
                )

    def predict(self, **arguments):
        data, output = self.settings.data, self.settings.output
        with self.interruptible():
            rows = predict(self.trainer, self.model, data.source, data.id, output)
            say("wrote", f"{output}: {rows} rows")
