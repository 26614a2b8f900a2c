"""Reading a checkpoint without running code from it."""

from pathlib import Path

import torch

from torchbp.training.errors import UserError

RESUME_PARTS = {  # what a resumed training needs; that of a pack has its draws
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


def find_checkpoint(path, resume=False):
    """The path of a checkpoint, as a text, that is named itself, or by the folder of its run: best.ckpt, or with
    `resume`, and where there is no best one, last.ckpt.

    Raises:
        UserError: a folder without a checkpoint.
    """
    folder = Path(path)
    if not folder.is_dir():
        return str(path)
    for name in ("last.ckpt",) if resume else ("best.ckpt", "last.ckpt"):
        for inside in (folder / "checkpoints" / name, folder / name):
            if inside.is_file():
                return str(inside)
    remedy = "it is no run"
    if run := _newest_run(folder, "**"):
        remedy = f"name a run in it, such as {run}"
    elif (config := folder / "config.yaml").is_file():  # of a run that was killed before its first one
        remedy = f"start that run again: torchbp fit -c {config}"
    raise UserError(f"{path} has no checkpoint; {remedy}")


def _newest_run(folder, pattern):
    """The folder of the newest run in the folders that match a pattern, or None."""
    runs = (checkpoint.parent.parent for checkpoint in folder.glob(f"{pattern}/checkpoints/last.ckpt"))
    return max(runs, key=lambda run: run.stat().st_mtime, default=None)


def read_checkpoint(path, resume=False):
    """The checkpoint of one of our runs, as a dict. Loading it runs no code, and it names no class to import.

    resume: whether it must have all parts that a resumed training needs.

    Raises:
        UserError: a file that does not exist, is damaged, is of another program, carries code, or names a class.
    """
    if not Path(path).is_file():
        run = _newest_run(Path("runs"), "*/*")
        raise UserError(f"there is no checkpoint {path}" + (f"; the newest run here is {run}" if run else ""))
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged file, or one of another program, may raise anything
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise UserError(
                f"{path} carries code, which was not run; use a checkpoint that torchbp has written"
            ) from None
        raise UserError(f"{path} is damaged, or is not a checkpoint") from None
    for part in ("hyper_parameters", "state_dict"):
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(part), dict):
            raise UserError(f"{path} is not a checkpoint of torchbp: it has no {part}")
    resume = resume and "configurations" not in checkpoint["hyper_parameters"]
    for part, kind in RESUME_PARTS.items():
        if (resume or part in checkpoint) and not isinstance(checkpoint.get(part), kind):
            raise UserError(f"{path} cannot be resumed: its part {part!r} is missing or damaged")
    for name in checkpoint["hyper_parameters"]:
        if str(name).startswith("_"):  # Lightning's _class_path and _instantiator: what to import and call
            raise UserError(f"{path} names a class to import ({name}); use a checkpoint that torchbp has written")
    return checkpoint
