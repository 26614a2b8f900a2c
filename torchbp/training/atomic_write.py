"""Writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path


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
