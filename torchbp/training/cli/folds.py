"""`torchbp fit … --data.folds K`: a network for each of K parts of the rows, which is tested on that part.

Each row is a test row once, so that every row gets the answer of a network that was not trained on it.
"""

import contextlib
import io
import shutil
import sys
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning.loggers import CSVLogger

from torchbp.printing import quoted, say
from torchbp.training.atomic_write import atomic_write
from torchbp.training.checkpoints.resuming import is_of_folds
from torchbp.training.checkpoints.run_lock import RunLock
from torchbp.training.cli.finite_answers import check_finite
from torchbp.training.cli.run_settings import check_run_folder, has_run_folder
from torchbp.training.cli.summary import best_checkpoint, is_stdin, program, shown
from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.errors import SettingError


class SeveralFolds(BaseException):
    """A `fit` whose settings have `data.folds`, and no `data.fold`."""

    def __init__(self, settings):
        self.settings = settings


def run_folds(found, fit):
    """Train, test, and print the mean ± the standard deviation of each score over the parts. Returns the exit status.

    found: a `SeveralFolds`. fit: takes more arguments, and whether to print what was found in the table; it returns the
        command that has run.

    With --ckpt_path and the folder of the runs, those that have ended stay as they are, one that was interrupted goes
    on, and the others are trained.

    Writes `out_of_fold.csv` to the folder of the runs: the number of each row, its part, its labels, and the answers.
    """
    count, folder = found.settings.data.folds, _folder(found.settings)
    if count < 2:
        raise SettingError(f"data.folds={count} must be at least 2")
    scores, tables, recipe = [], [], []
    for fold in range(1, count + 1):
        say("fold", f"{fold} of {count}", sys.stderr)
        where = {"save_dir": folder.parent, "name": folder.name, "version": f"fold_{fold}"}
        where = [word for name, text in where.items() for word in (f"--trainer.logger.init_args.{name}", str(text))]
        printed, status = io.StringIO(), None
        try:
            with contextlib.redirect_stdout(printed):
                resumed = ["--ckpt_path", _resumed(folder / f"fold_{fold}")]
                command = fit([*where, *recipe, "--data.fold", str(fold), *resumed], survey=fold == 1)
                recipe = ["--recipe", command.settings.recipe]  # that the first part has chosen
                with command.interruptible():
                    if command.status == 0:
                        scores.append(_test(command))
                        tables.append(_answers(command, fold))
            status = command.status
        finally:
            if status != 0:
                print(printed.getvalue(), end="")
                _say_stopped(folder, fold - 1, count, has_diverged=status == 1)
        if status:
            return status
        say(f"fold {fold}", "  ".join(f"{name} {value:.4f}" for name, value in scores[-1].items()))
    path = folder / "out_of_fold.csv"
    with atomic_write(path) as temporary:
        pd.concat(tables).sort_values("row").to_csv(temporary, index=False)
    width = max(map(len, scores[0]))
    for name in scores[0]:
        values = torch.tensor([of_fold.get(name, torch.nan) for of_fold in scores], dtype=torch.double)
        print(f"{name:<{width}} {values.mean():.4f} ± {values.std():.4f}")
    say(
        "wrote",
        f"{shown(path)}: {sum(map(len, tables))} rows, each with the answer of the network that has not seen it",
    )
    return 0


def _folder(settings):
    """The folder of the runs, save_dir/NAME/version_N."""
    logger = settings.trainer.logger
    if not has_run_folder(logger) or settings.trainer.fast_dev_run:
        raise SettingError("data.folds needs the folder of a CSVLogger; leave trainer.logger and fast_dev_run out")
    if settings.ckpt_path:
        if not is_of_folds(settings.ckpt_path):
            raise SettingError(
                f"{settings.ckpt_path} is no folder with runs fold_1, fold_2, …, which data.folds goes on with; name "
                "such a folder, or add the --data.fold that is resumed"
            )
        return Path(settings.ckpt_path)
    if is_stdin(settings.data.source):
        raise SettingError("data.folds reads the rows for each part, and stdin can be read once; name a file")
    args = logger.init_args
    check_run_folder(args, resumed=None, process=0)
    version = CSVLogger(args.save_dir, args.name, args.version).version
    return Path(args.save_dir) / args.name / (version if isinstance(version, str) else f"version_{version}")


def _resumed(run):
    """What --ckpt_path is for the run of a part: the run, where there is something to go on with, otherwise null. What
    a run has left that was killed before its first checkpoint is deleted."""
    if (run / "checkpoints" / "last.ckpt").is_file():
        return str(run)
    if run.is_dir():
        lock = RunLock(run)
        shutil.rmtree(run)
        lock.release()
    return "null"


def _say_stopped(folder, done, count, has_diverged):
    """That there are no scores yet, and how to go on."""
    if is_of_folds(folder):
        say("folds", f"{done} of {count} are trained, in {shown(folder)}; there are no scores without all of them")
        if not has_diverged:
            say("resume", f"{program()} fit --ckpt_path {quoted(shown(folder))}")


def _test(command):
    """The scores of the best epoch on the test rows; the network has its weights afterwards."""
    trainer = command.trainer
    if trainer.world_size > 1:
        raise SettingError("data.folds trains in one process; use --trainer.devices 1")
    trainer.loggers = []
    scores = trainer.test(command.model, command.datamodule, best_checkpoint(trainer), verbose=False, weights_only=True)
    return scores[0]


def _answers(command, fold):
    """A table of the test rows: their numbers in the source, the part, the labels, and the answers."""
    model, data = command.model, command.datamodule
    x, y, *_ = data.rows("test")
    answers = torch.cat([model.answers(piece).float().cpu() for piece in x.split(ROWS_AT_ONCE)])
    check_finite(answers, 0, "the test rows")
    frame = pd.DataFrame({"row": [data.row_number("test", i) for i in range(len(x))], "fold": fold})
    return pd.concat([frame, _labels(model.task, y), pd.DataFrame(model.task.columns(answers))], axis=1)


def _labels(task, y):
    """A table of the labels of rows: a column `label`, or one for each of several targets, `label(NAME)`."""
    if task.exclusive:
        return pd.DataFrame({"label": [task.classes[int(label)] for label in y.flatten()]})
    names = ["label"] if len(task.classes) == 1 else [f"label({name})" for name in task.classes]
    return pd.DataFrame((y.int() if task.has_classes else y).numpy(), columns=names)
