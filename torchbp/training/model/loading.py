"""The trained model of a checkpoint, of whichever kind it is."""

from torchbp.training.checkpoints.network import load_network
from torchbp.training.model.network import Network
from torchbp.training.model.pack_network import PackNetwork


def is_pack(checkpoint):
    return "configurations" in checkpoint["hyper_parameters"]


def load_model(checkpoint, path):
    """The `Network`, or `PackNetwork`, of what `read_checkpoint` has read.

    Raises:
        UserError: as `load_network`.
    """
    return load_network(PackNetwork if is_pack(checkpoint) else Network, checkpoint, path)
