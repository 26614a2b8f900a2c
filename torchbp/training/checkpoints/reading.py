"""Reading a checkpoint without running what it holds."""

from pathlib import Path

import torch

from torchbp.training.errors import UserError

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
