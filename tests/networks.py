"""Small networks with known weights, and rows for them."""

import torch

import torchbp
from torchbp.ops._counter_random import advance, kept


def mlp(sizes, members=None, device="cpu", dtype=torch.double, seed=0):
    """The same weights for the same sizes, wherever it is called; on any device those that the CPU draws."""
    torch.manual_seed(seed)
    return torchbp.nn.MLP(*sizes, members=members, dtype=dtype).to(device)


def rows(*shape, features=3, outputs=2, dtype=torch.double, device="cpu"):
    """Inputs `(*shape, features)` and labels between 0 and 1 `(*shape, outputs)`."""
    x, y = torch.randn(*shape, features, dtype=dtype), torch.rand(*shape, outputs, dtype=dtype)
    return x.to(device), y.to(device)


def set_parameters(net, values):
    """Give each parameter, in the order of `net.parameters()`, its numbers."""
    with torch.no_grad():
        for parameter, numbers in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(numbers, dtype=torch.double))


def assert_same(model, other, tolerance=1e-12):
    torch.testing.assert_close(
        model.state_dict(), other.state_dict(), rtol=tolerance, atol=tolerance, check_device=False
    )


class MaskByKey(torch.nn.Module):
    """Dropout for autograd with the masks that a step of the engine has, one after the other."""

    def __init__(self, p, key):
        super().__init__()
        self.p, self.key = p, key.clone()

    def forward(self, x):
        if not self.training:
            return x
        advance(self.key)
        return x * kept(self.key, x.numel(), self.p).view(x.shape) / (1 - self.p)


def with_masks_by_key(model):
    """The Sequential, with such layers in the place of those of dropout that have a key."""
    for name, layer in model.named_children():
        if isinstance(layer, torch.nn.Dropout) and hasattr(layer, "key"):
            setattr(model, name, MaskByKey(layer.p, layer.key))
    return model
