"""Writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path):
    """A path beside `path` to write to; at the end it takes the place of `path`, and after an error it is gone."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # another process may write the same file
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
