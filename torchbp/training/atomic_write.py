"""Writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path

import torch


@contextlib.contextmanager
def atomic_write(path):
    """A context with a temporary path to write to. At its end the file gets the name `path`; after an error it is
    deleted."""
    path = Path(path)
    # with the process id, since another process may write the same file
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)  # an error of a write names no file
        raise


def atomic_save(content, path):
    """`torch.save` to a file that is then whole, or is not there. The folder is made.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as file:  # a full disk is an OSError in Python's files
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # after it, torch fails to end its archive, and raises that instead
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
