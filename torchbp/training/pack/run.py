"""`torchbp fit --recipe pack`: draws are trained one after the other, and the best of all networks answer together.

Each process trains every n-th draw, and writes it to the run's folder. The first process reads what is there, and
writes `best.ckpt` with the chosen networks after each of its own draws: so there is a network at any moment. At the end
the processes wait for each other, and nothing else is sent.
"""

import math
import sys
import time
from pathlib import Path

import torch

from torchbp.printing import say
from torchbp.training.callbacks.interruption import Interrupted
from torchbp.training.callbacks.progress import data_description
from torchbp.training.checkpoints.saving import BestAndLast
from torchbp.training.cli.lightning_quiet import SaveConfig
from torchbp.training.cli.processes import group_to_wait_in, wait_for_all
from torchbp.training.cli.recipe import recipe_line, shows_survey
from torchbp.training.pack.budget import Budget, budget_words, seconds_of
from torchbp.training.pack.checkpoint import write_checkpoints
from torchbp.training.pack.checks import SAME, check_resumed, check_strategy, same_in_each_draw
from torchbp.training.pack.choice import choose, pack_network
from torchbp.training.pack.closing import close
from torchbp.training.pack.draws import (
    OF_DRAW,
    drawn_numbers,
    options_of,
    read_cuts,
    read_draw,
    train_draw,
    write_cut,
    write_draw,
)
from torchbp.training.pack.progress import PackProgress
from torchbp.training.pack.rows import pack_rows


class PackRun:
    """A run in one process. command: the `TrainingCLI`, whose `model` becomes the `PackNetwork`."""

    def __init__(self, command):
        self.command, self.trainer, self.data = command, command.trainer, command.datamodule
        check_strategy(self.trainer)
        self.trainer.strategy.setup_environment()
        self.rank, self.world = self.trainer.global_rank, self.trainer.world_size
        self.folder = Path(self.trainer.log_dir)
        self.draws_folder = self.folder / "checkpoints" / "draws"
        self.draws, self.model = {}, None
        callback = next(one for one in self.trainer.callbacks if isinstance(one, BestAndLast))
        callback.dirpath = str(self.folder / "checkpoints")  # where the closing lines, and data.folds, look
        callback.best_model_path = str(self.folder / "checkpoints" / "best.ckpt")
        callback.last_model_path = str(self.folder / "checkpoints" / "last.ckpt")

    def prepare(self):
        """Say what is trained, put the rows in order, and write the config."""
        command, settings = self.command, self.command.settings
        if self.rank == 0:
            for part in self.folder.rglob(".*.part"):  # that a killed process has left
                part.unlink()
        self.group = group_to_wait_in()
        seed = self.trainer.strategy.broadcast(torch.initial_seed() % 2**32)
        if command.checkpoint is not None and settings.seed_everything is False:
            seed = command.trained.hparams.seed  # by which its rows and draws are
        description = [
            *recipe_line(command),
            *data_description(self.data, command.model.task, shows_survey(self.trainer)),
        ]
        self.rows = pack_rows(self.data, command.model.task, seed)
        folds = len(self.rows.fold_sizes)
        if command.checkpoint is not None:
            check_resumed(command, seed)
        self.of_draw = OF_DRAW * folds
        wanted = math.ceil((settings.model.members or options_of(folds)["members"]) / self.of_draw)
        seconds = None if settings.budget is None else seconds_of(settings.budget)
        self._read_draws()
        durations = [draw["seconds"] * self.world for draw in self.draws.values()]
        self.budget = Budget(wanted, seconds, durations, self.world, read_cuts(self.draws_folder))
        self.total = None if seconds else max(wanted, len(self.draws)) * self.of_draw
        if self.rank == 0:
            what = f"{self.total} networks" if self.total else f"networks for {budget_words(settings.budget)}"
            rows = sum(self.rows.fold_sizes)
            turns = f"{rows} rows are {folds} folds, which take turns as validation rows"
            text = f"{what}; {turns if folds > 1 else f'{rows} validation rows choose'}"
            processes = f", in {self.world} processes" if self.world > 1 else ""
            self.description = [*description, ("pack", f"{text}{processes}")]
            for label, line in self.description:
                say(label, line, sys.stderr)
        for callback in self.trainer.callbacks:
            if isinstance(callback, SaveConfig):
                callback.setup(self.trainer, command.model, "fit")

    def train(self):
        """Train draws until there is no more room, or a signal comes. The draw that is trained then is lost; but where
        the time is used in the first one, each of its configurations has had a share of it, and it is kept as it is."""
        interruption = self.command.interruption
        interruption.listen()
        interruption.begun = True
        options = self._options()
        with PackProgress(self.total, self.budget.ends(), self.rank == 0) as progress:
            if self.draws and self.rank == 0:
                self._choose(progress)
            try:
                start = time.monotonic()
                for number in self._numbers():
                    draw = train_draw(
                        number, self.rows, lambda share: interruption.number or self.budget.is_over(share), **options
                    )
                    interruption.stop()
                    if self.budget.done and self.budget.is_over():
                        write_cut(number, time.monotonic() - start, self.draws_folder)
                        break
                    now = time.monotonic()
                    self.budget.took(now - start)  # with the choice after the draw before it
                    draw["seconds"], start = (now - start) / self.world, now
                    if self.rank == 0:  # first, so that there is a last.ckpt from which a killed run goes on
                        self._read_draws()
                        self.draws[number] = draw
                        self._choose(progress)
                    write_draw(draw, self.draws_folder)
                    interruption.stop()
            except Interrupted:
                pass
        wait_for_all(self.group)
        interruption.agree(self.trainer)
        if self.rank == 0 and self._read_draws():
            self._choose(progress)

    def _numbers(self):
        """The numbers of the draws of this process, as long as there is room."""
        done, number = drawn_numbers(self.draws_folder), self.rank
        while self.budget.has_room(number):
            if number not in done:
                yield number
            number += self.world

    def _options(self):
        """Of the networks' training, where the command has them."""
        settings = self.command.settings
        options = {"activation": self.command.model.hparams.activation, "max_iter": self.trainer.max_epochs}
        if settings.data.batch_size is not None:
            options["batch_size"] = settings.data.batch_size
        return options

    def _read_draws(self):
        """Read the draws that are new in the folder. Returns whether there was one."""
        new = drawn_numbers(self.draws_folder) - self.draws.keys()
        self.draws |= {number: read_draw(self.draws_folder, number) for number in sorted(new)}
        return bool(new)

    def _choose(self, progress):
        configurations, loss, networks = choose(self.draws.values(), self.rows)
        h = self.command.model.hparams
        self.model = pack_network(configurations, networks, self.rows, {name: h[name] for name in SAME})
        write_checkpoints(self.model, self.data, same_in_each_draw(self.command), self.folder / "checkpoints")
        progress.show(len(configurations) * len(self.rows.fold_sizes), loss, len(self.model.nets))


def train_pack(command):
    """Train the pack of a command, and print the closing lines; in each process of the run."""
    run = PackRun(command)
    run.prepare()
    run.train()
    number = command.interruption.number
    command.status = 128 + number if number else 0
    if run.rank == 0:
        close(run)
