"""Reading a checkpoint without running what it holds, and writing a file whole or not at all."""

import os
from pathlib import Path

import torch

from torchbp.training.errors import SettingError, UserError


def read_checkpoint(path):
    """The checkpoint of one of our runs; loading it runs no code."""
    if not Path(path).is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # what a foreign or a broken file raises depends on its bytes
        raise UserError(f"{path} is damaged, or is not a checkpoint") from None
    for part in ("hyper_parameters", "state_dict"):
        if not isinstance(checkpoint, dict) or part not in checkpoint:
            raise UserError(f"{path} is not a checkpoint of torchbp: it has no {part}")
    return checkpoint


def check_output(path, overwrite):
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file as --output")
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; name another --output, or add --overwrite true")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")


def write_whole(frame, path):
    """Write a CSV file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("x", newline="") as file:
            frame.to_csv(file)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
