"""The files that `torchbp explain` writes: the key of each, how its name ends, and what is in it."""

import contextlib
from pathlib import Path

from torchbp.training.atomic_write import atomic_write
from torchbp.training.errors import SettingError, UserError

ENDS = {
    "json": ".json",
    "html": ".html",
    "latex": ".tex",
    "markdown": ".md",
    "notebook": ".ipynb",
    "svg": ".svg",
}


def files_of(settings):
    """{key: path} of the files that are asked for.

    Raises:
        SettingError: a name of another ending, or in a folder that is not there.
    """
    found = {key: Path(name) for key in ENDS if (name := getattr(settings, key)) is not None}
    for key, path in found.items():
        if path.suffix != ENDS[key] or path.is_dir():
            raise SettingError(f"--{key} {path} must be a file that ends in {ENDS[key]}")
        if not path.parent.is_dir():
            raise SettingError(f"there is no folder {path.parent} to write {path.name} to")
    if settings.json_all and "json" not in found:
        raise SettingError("--json_all is of the file that --json writes; add --json FILE")
    return found


def contents(explanation, files, **options):
    """[(path, text)] of the files; `options` are those of `to_json`."""
    found = []
    for key, path in files.items():
        method = getattr(explanation, f"to_{key}")
        found.append((path, method(**options) if key == "json" else method()))
    return found


def write(contents):
    """Write all of the files, or none of them."""
    with contextlib.ExitStack() as stack:
        for path, content in contents:
            try:
                stack.enter_context(atomic_write(path)).write_text(content, encoding="utf-8")
            except OSError as error:  # its own message names the temporary file
                raise UserError(f"{path} cannot be written: {error.strerror}") from None
