"""Reading a checkpoint without running what it holds, and writing a file whole or not at all."""

import contextlib
import os
from pathlib import Path

import torch

from torchbp.training.errors import SettingError, UserError

RUN_PARTS = {  # what training goes on from
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "random_state": torch.Tensor,
    "datamodule_hyper_parameters": dict,
    "TabularData": dict,
}


def read_checkpoint(path, whole=False):
    """The checkpoint of one of our runs; `whole` where training is to go on from it. Loading it runs no code, and it
    names none to run.

    Raises:
        UserError: a file that is not there, is damaged, is of another program, carries code, or names a class.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # what a foreign or a broken file raises depends on its bytes
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise UserError(f"{path} carries code, which may do anything; it was not run, and is refused") from None
        raise UserError(f"{path} is damaged, or is not a checkpoint") from None
    for part in ("hyper_parameters", "state_dict"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), dict):
            raise UserError(f"{path} is not a checkpoint of torchbp: it has no {part}")
    for part, kind in RUN_PARTS.items():
        if (whole or part in checkpoint) and not isinstance(checkpoint.get(part), kind):
            raise UserError(f"{path} cannot be gone on from: it has no {part}, or a damaged one")
    for name in checkpoint["hyper_parameters"]:
        if str(name).startswith("_"):  # Lightning's _class_path and _instantiator: what to import and call
            raise UserError(f"{path} names code to import ({name}), and is refused")
    return checkpoint


def check_output(path, source, overwrite, suffixes):
    """Raises SettingError for a file that cannot, or must not, be written."""
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise SettingError(f"{path} is the data itself; name another --output")
    if path.is_dir():
        raise SettingError(f"{path} is a folder; name a file as --output")
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"--output {path} must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; name another --output, or add --overwrite true")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")


@contextlib.contextmanager
def written_whole(path):
    """A path beside `path` to write to; at the end it takes the place of `path`, and after an error it is gone."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # another process may write the same file
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
