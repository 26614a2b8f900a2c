"""Whose line raised an error, and what the errors of autograd about a backward mean."""

import re
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


def meaning(text):
    """['likely cause: …'] of an error that autograd raises about what a backward returns, or []."""
    if found := re.search(r"an invalid gradient at index (\d+) - got (\[.*?\]) but expected shape .*?(\[.*?\])", text):
        got, expected = (re.findall(r"\d+", shape) for shape in found.groups()[1:])
        why = "sum it over the dimensions that the forward has broadcast, and reshape it to that shape"
        if got != expected and got == expected[::-1]:
            why = "it is the transpose of what it should be"
        return [f"likely cause: gradient {found[1]} (from 0, in the order of the forward's arguments): {why}"]
    if "returned an incorrect number of gradients" in text:
        return ["to do: return one gradient for each argument of the forward but ctx, None for what needs none"]
    if "returned a gradient different than None at position" in text:
        return ["to do: return None for each argument of the forward that is no tensor"]
    return []


def _is_of_a_library(filename):
    return filename.startswith("<") or any(folder in Path(filename).parents for folder in _LIBRARIES)
