"""Whose line raised an error."""

import traceback
from pathlib import Path

import torch

_LIBRARIES = (Path(torch.__file__).parent, Path(__file__).parents[1])


def raised_in(error):
    """['raised in backward, my_module.py, line 12: return g * ctx.y'] of the audited code's last line, or []."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_of_a_library(f.filename)]
    if not frames:
        return []
    frame = frames[-1]
    code = f": {frame.line}" if frame.line else ""
    return [f"raised in {frame.name}, {Path(frame.filename).name}, line {frame.lineno}{code}"]


def _is_of_a_library(filename):
    return filename.startswith("<") or any(folder in Path(filename).parents for folder in _LIBRARIES)
