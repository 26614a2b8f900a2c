"""Writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path):
    """A context with a temporary path to write to. At its end the file is renamed to `path`; after an error, deleted."""
    path = Path(path)
    temporary = path.with_name(
        f".{path.name}.{os.getpid()}.part"
    )  # with the process id: another process may write the same file
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
