"""How a resumed run continues in its own folder."""

import csv
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from torchbp.training.atomic_write import atomic_write


def run_folder(path):
    """The folder of the run whose last.ckpt this is; None for any other checkpoint."""
    path = Path(path).absolute()
    run = path.parent.parent
    return run if path.name == "last.ckpt" and (run / "config.yaml").is_file() else None


def is_of_folds(path):
    """Whether this is the folder of the runs of `data.folds`: it has their folders fold_1, fold_2, …"""
    return (Path(path) / "fold_1" / "config.yaml").is_file()


def newest_best_checkpoint(folder):
    """The newest best.ckpt of the runs in a folder, or None."""
    checkpoints = Path(folder).glob("*/checkpoints/best.ckpt")
    return max(checkpoints, key=lambda path: path.stat().st_mtime, default=None)


def continue_metrics(loggers, run, epoch):
    """Let the run's loggers continue at an epoch. Temporary files that a killed process has left are deleted."""
    for part in run.rglob(".*.part"):
        part.unlink()
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            logger._experiment = _ContinuedMetrics(logger.log_dir, epoch)


class _ContinuedMetrics(ExperimentWriter):
    """Continues an existing metrics.csv at `epoch`. (Lightning's writer would delete the file.)"""

    def __init__(self, log_dir, epoch):
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        lines = path.read_text().splitlines(keepends=True)
        reader = csv.DictReader(line for line in lines if line.endswith("\n"))  # a full disk cuts the last one
        rows = [row for row in reader if (row.get("epoch") or "").isdigit() and int(row["epoch"]) < epoch]
        self.metrics_keys = list(reader.fieldnames or [])
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def _check_log_dir_exists(self):
        pass
