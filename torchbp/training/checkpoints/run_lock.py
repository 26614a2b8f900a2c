"""The folder of a run belongs to one process: a second one that would write to it is refused."""

import contextlib
import os
from pathlib import Path

from torchbp.training.errors import SettingError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class RunLock:
    """The lock of a run's folder, which is made if it does not exist. The system releases it with the process, after
    kill -9 too, and it leaves no file.

    Args:
        folder: of the run.

    Raises:
        SettingError: another process has the lock.
    """

    def __init__(self, folder):
        folder = Path(folder)
        self.made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.file = os.open(folder, os.O_RDONLY) if fcntl else None
        try:
            if fcntl:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.file)
            raise SettingError(
                f"another process trains in {folder}; wait for its end, or train a new run without --ckpt_path and "
                "without the logger's version"
            ) from None
        except OSError:  # a file system that cannot lock a folder
            pass

    def release(self):
        """Give the folder back; one that was made for the run, and is empty, is removed."""
        if self.file is not None:
            os.close(self.file)
        with contextlib.suppress(OSError):
            for path in self.made:
                path.rmdir()


def lock_run(loggers, numbered):
    """The `RunLock` of the folder of the first logger.

    numbered: whether the loggers have counted the runs that there are, and taken the next number. If another run has
    started since, and has the same number, they get the one after it.
    """
    while True:
        folder = Path(loggers[0].log_dir)
        try:
            lock = RunLock(folder)
        except SettingError:
            if not numbered:
                raise
        else:
            if not numbered or not any(folder.iterdir()):
                return lock
            lock.release()
        for logger in loggers:
            logger._version += 1


def has_log_dir(loggers):
    """Whether the first logger has a folder for each run."""
    return bool(loggers) and getattr(loggers[0], "log_dir", None) is not None
