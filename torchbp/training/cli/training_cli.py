"""The training commands as a LightningCLI: their arguments, and the network, the data and the Trainer made of them."""

import contextlib
import signal
import sys
from pathlib import Path

from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.strategies import FSDPStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

from torchbp.cli import keys
from torchbp.cli.keys import LINKED, TRAINER_DEFAULTS
from torchbp.printing import quoted, say
from torchbp.training.callbacks.interruption import Interrupted
from torchbp.training.callbacks.progress import EpochProgress
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.checkpoints.resuming import is_of_folds, newest_best_checkpoint, run_folder
from torchbp.training.checkpoints.saving import AtomicCheckpointIO
from torchbp.training.cli import running
from torchbp.training.cli.argument_errors import GROUPS, Parser
from torchbp.training.cli.checkpoint_checks import check_checkpoint
from torchbp.training.cli.folds import SeveralFolds, run_folds
from torchbp.training.cli.lightning_quiet import SaveConfig
from torchbp.training.cli.predictions import SUFFIXES, check_output
from torchbp.training.cli.processes import rank
from torchbp.training.cli.recipe import chosen_recipe
from torchbp.training.cli.run_settings import (
    check_processes,
    check_run_folder,
    check_trainer,
    has_run_folder,
    with_tensorboard,
)
from torchbp.training.cli.summary import shown
from torchbp.training.cli.trained_settings import add_settings, settings_of_rows
from torchbp.training.errors import SettingError
from torchbp.training.model.loading import is_pack, load_model
from torchbp.training.model.trainer_settings import check_trainer_settings
from torchbp.training.pack.checks import check_recipe

OF_PARSER = "parser", "_subcommand_parsers", "_subcommand_method_arguments"
_made = {}  # {command: {attribute of `TrainingCLI`: its value}} of OF_PARSER


def run_command(arguments, interruption):
    """Run the training command `arguments[0]`. Returns the exit status.

    Raises:
        UserError, SettingError: data or an argument that cannot be used.
    """
    try:
        return _command(arguments, interruption).status
    except SeveralFolds as found:
        return run_folds(found, lambda more, survey: _command([*arguments, *more], interruption, survey, is_part=True))


def _command(arguments, interruption, survey=True, is_part=False):
    TrainingCLI.command, TrainingCLI.interruption, TrainingCLI.is_part = arguments[0], interruption, is_part
    return TrainingCLI(
        GROUPS["model"],
        GROUPS["data"],
        args=arguments,
        parser_class=Parser,
        parser_kwargs={"allow_abbrev": False, "prog": "torchbp"},
        save_config_callback=SaveConfig,
        trainer_defaults={**TRAINER_DEFAULTS, "callbacks": EpochProgress(survey)},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
    )


class TrainingCLI(LightningCLI):
    """The training commands over fixed classes: no checkpoint can name code to run (a config can: a logger's)."""

    status = 0
    command = None  # the subcommand in use; only its parser is built, which saves start-up time
    interruption = None
    is_part = False  # whether the run is one of those of `data.folds`, which are resumed together

    def setup_parser(self, *arguments):
        """The command's parser, which is made once: `data.folds` runs the command for each part."""
        if self.command not in _made:
            super().setup_parser(*arguments)
            _made[self.command] = {name: getattr(self, name) for name in OF_PARSER}
        vars(self).update(_made[self.command])

    @staticmethod
    def subcommands():
        return {TrainingCLI.command: LightningCLI.subcommands()[TrainingCLI.command]}

    def add_core_arguments_to_parser(self, parser):
        if self.command == "fit":
            super().add_core_arguments_to_parser(parser)
            return
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
        add_settings(parser)

    def add_arguments_to_parser(self, parser):
        if self.command == "predict":
            parser.add_function_arguments(keys.predict_keys, as_group=False)
        if self.command == "fit":
            parser.add_function_arguments(keys.recipe_keys, as_group=False)
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
        # Lightning lets a checkpoint's hyperparameters replace the user's; `check_checkpoint` compares them instead.
        path = self.settings.get("ckpt_path")
        if self.command == "fit" and path and is_of_folds(path) and self._has_all_folds():
            raise SeveralFolds(self.settings)
        if path:
            path = self.settings.ckpt_path = find_checkpoint(path, resume=self.command == "fit")
        self.checkpoint = read_checkpoint(path, resume=self.command == "fit") if path else None
        self.trained = load_model(self.checkpoint, path) if path else None
        if self.command != "fit" and not path:
            logger, example = self.settings.trainer.logger, "runs/…/checkpoints/best.ckpt, which fit printed"
            folder = Path(logger.init_args.save_dir) / logger.init_args.name if has_run_folder(logger) else None
            if folder and (best := newest_best_checkpoint(folder)):
                example = quoted(shown(best))
            raise SettingError(f"{self.command} needs a trained network: add --ckpt_path {example}")
        if self.command == "fit":
            check_recipe(self.settings, self.checkpoint, path)
        if self.command != "fit":
            self.of_rows = settings_of_rows(self.settings, self.trained, self.checkpoint, path)
        if self.command == "predict":
            check_output(Path(self.settings.output), self.of_rows["source"], self.settings.overwrite, SUFFIXES)

    def _has_all_folds(self):
        return self.settings.data.folds is not None and self.settings.data.fold is None

    def before_instantiate_classes(self):
        self.resumed_run = None  # the folder of the run that is resumed
        logger = self.settings.trainer.logger
        if self.command == "fit" and self._has_all_folds():
            raise SeveralFolds(self.settings)
        if self.command == "fit" and not self.settings.trainer.fast_dev_run and isinstance(logger, (bool, type(None))):
            raise SettingError(
                f"trainer.logger={logger}: a run needs a logger with a folder; leave it out, or name a logger"
            )
        if self.command == "fit" and has_run_folder(logger):
            run = run_folder(self.settings.ckpt_path) if self.checkpoint is not None else None
            if run:
                self.resumed_run = run
                logger.init_args.save_dir, logger.init_args.name = shown(run.parent.parent), run.parent.name
                logger.init_args.version = run.name
            check_run_folder(logger.init_args, self.resumed_run, rank())

    def instantiate_classes(self):
        if self.command == "fit":
            self.members = self.settings.model.members
            if self.settings.recipe == "pack":  # which makes its networks draw by draw, and trains no `Network`
                self.settings.model.members = None
            super().instantiate_classes()
            return
        self.config_init = self.parser.instantiate_classes(self.config)
        self.model, self.datamodule = self.trained, None
        if self.command != "predict":
            self.datamodule = GROUPS["data"].of_checkpoint(self.checkpoint, self.settings.ckpt_path, **self.of_rows)
            for label, text in self.datamodule.table.lines:
                if label == "note" and rank() == 0:
                    say(label, text, sys.stderr)
        self.trainer = self.instantiate_trainer()

    def after_instantiate_classes(self):
        if self.command == "fit":
            check_trainer_settings(self.trainer, self.datamodule, self.model)
            if self.checkpoint is not None and self.settings.recipe != "pack":
                check_checkpoint(self)

    def instantiate_trainer(self, **kwargs):
        settings = self._get(self.config_init, "trainer")
        if self.command != "fit":  # only fit writes a run folder
            settings = {**settings, "logger": False, "enable_checkpointing": False}
            if self.command == "predict":
                settings |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
            if is_pack(self.checkpoint):
                settings |= {"accelerator": "cpu", "precision": None}  # it computes in float64
            trainer = self.trainer_class(**settings)
        else:
            self.settings.recipe, self.why = chosen_recipe(self.settings, self.datamodule)
            self.settings.model.members = self.members  # the config that the Trainer's callback writes has it
            plugins = settings.plugins if isinstance(settings.plugins, list) else [settings.plugins]
            kwargs["plugins"] = [*(plugin for plugin in plugins if plugin is not None), AtomicCheckpointIO()]
            trainer = super().instantiate_trainer(**kwargs, **with_tensorboard(settings.logger))
        check_processes(trainer, self.command)
        if self.command == "fit":
            self._check_fsdp(trainer)
            check_trainer(trainer)
        trainer.callbacks.insert(0, self.interruption)
        return trainer

    def _check_fsdp(self, trainer):
        full_gradient = self.settings.stopping.min_grad_norm or self.settings.gradients.every_n_epochs != 0
        if isinstance(trainer.strategy, FSDPStrategy) and full_gradient:
            raise SettingError(
                "fsdp splits the weights over processes, and the gradient needs whole ones; add "
                "--stopping.min_grad_norm 0 --gradients.every_n_epochs 0"
            )

    @contextlib.contextmanager
    def interruptible(self):
        """Within it, a signal ends the command between two steps; the exit status says so."""
        self.interruption.listen([signal.SIGINT])
        try:
            yield
        except (Interrupted, SIGTERMException):  # the second from Lightning, before our handler was installed
            self.status = 128 + (self.interruption.number or signal.SIGTERM)

    def fit(self, **arguments):
        if self.settings.recipe == "pack":
            running.run_pack(self)
        else:
            running.run_fit(self, arguments)

    def validate(self, **arguments):
        running.run_evaluation(self, self.trainer.validate, arguments)

    def test(self, **arguments):
        running.run_evaluation(self, self.trainer.test, arguments)

    def predict(self, **arguments):
        running.run_prediction(self)
