"""What `torchbp check RUN` audits: the layers of a trained network, and rows for them."""

import torch

from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.errors import SettingError
from torchbp.training.model.loading import load_model

ROWS = 4


def layers_of_run(path: str, member: int | None = None) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The layers of the network of a run's folder or a checkpoint, in float64 and evaluation mode; of many networks
    those of one, by its number as `torchbp explain --member` takes it. And inputs: rows as the scaling makes them,
    standardised, drawn with the seed that torch has.

    Raises:
        UserError: no such checkpoint. SettingError: a number of none; none, where there are many networks.
    """
    path = find_checkpoint(path)
    model = load_model(read_checkpoint(path), path).double()
    if member is not None and not model.numbers:
        raise SettingError(f"--member {member} is of many networks, and {path} holds one; leave it out")
    if member is None and model.numbers:
        raise SettingError(f"{path} holds many networks, and one is audited: add --member {model.numbers[0]}")
    layers = (model if member is None else model.member(member)).net.eval()
    return layers, (torch.randn(ROWS, model.scaling.features, dtype=torch.float64, requires_grad=True),)
