"""Modules as libraries have them: adapters, parametrizations, hooks, shared and frozen parts, buffers, noise."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from tests.testing.corpus.entry import Sound, draw


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter beside it."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(3, 4).requires_grad_(False)
        self.down = nn.Parameter(torch.randn(2, 3))
        self.up = nn.Parameter(torch.randn(4, 2) * 0.1)

    def forward(self, x):
        return self.base(x) + 0.5 * F.linear(F.linear(x, self.down), self.up)


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).mT


class Parametrized(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        parametrize.register_parametrization(self, "weight", Symmetric())


class SpectralNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = parametrizations.spectral_norm(nn.Linear(3, 4))
        with torch.no_grad():  # its gradient in training is right where the power iteration has converged
            for _ in range(50):
                self.layer(torch.zeros(1, 3))

    def forward(self, x):
        return self.layer(x)


class WeightNormByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.direction = nn.Parameter(torch.randn(4, 3))
        self.length = nn.Parameter(torch.rand(4, 1) + 0.5)

    def forward(self, x):
        return F.linear(x, self.length * self.direction / self.direction.norm(dim=1, keepdim=True))


class Hooked(nn.Module):
    """Hooks of the forward scale what comes out, one of the backward looks."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.layer.register_forward_hook(lambda module, args, output: 2 * output)
        self.layer.register_full_backward_hook(lambda module, before, after: None)

    def forward(self, x):
        return self.layer(x).tanh()


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(self.layer(x).tanh())


class TiedLanguageModel(nn.Module):
    """The embedding is the output layer, too."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)

    def forward(self, tokens):
        return F.linear(self.embedding(tokens).tanh(), self.embedding.weight)


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList([nn.Parameter(torch.rand(3)) for _ in range(2)])
        self.shifts = nn.ParameterDict({"a": nn.Parameter(torch.rand(3))})

    def forward(self, x):
        for scale in self.scales:
            x = torch.tanh(x * scale + self.shifts["a"])
        return x


class Standardised(nn.Conv1d):
    """A convolution by a weight of mean 0 and variance 1."""

    def __init__(self):
        super().__init__(2, 3, 2)

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2), keepdim=True)
        variance = weight.square().mean((1, 2), keepdim=True)
        return F.conv1d(x, weight * (variance + 1e-3).rsqrt(), self.bias)


class MovingMean(nn.Module):
    """A buffer follows the inputs in training, and is subtracted in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        if not self.training:
            return (x - self.mean).tanh()
        mean = x.mean(0)
        with torch.no_grad():
            self.mean.lerp_(mean, 0.1)
        return (x - mean).tanh()


class DropPath(nn.Module):
    """Rows are left out at random, as a whole."""

    def forward(self, x):
        if not self.training:
            return x
        keep = (torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) < 0.8).to(x.dtype)
        return x * keep / 0.8


class Variational(nn.Module):
    """A sample by its mean and its logarithmic variance."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        mean, deviation = self.mean(x), (0.5 * self.log_variance(x)).exp()
        return mean + deviation * torch.randn_like(mean)


class CausalAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project, self.out = nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x):
        query, key, value = (t.unflatten(-1, (2, 2)).transpose(1, 2) for t in self.project(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Rotated(nn.Module):
    """Rotary positions, by complex numbers."""

    def forward(self, x):
        angles = torch.arange(x.shape[-2], device=x.device, dtype=torch.float64)
        turn = torch.polar(torch.ones_like(angles), 0.5 * angles).to(x.dtype.to_complex() if x.element_size() > 2 else
                                                                     torch.complex64).unsqueeze(-1)  # fmt: skip
        pairs = torch.view_as_complex((x if x.element_size() > 2 else x.float()).unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


class Experts(nn.Module):
    """Each row goes to one of two layers, by its own numbers."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(3, 2)
        self.experts = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])

    def forward(self, x):
        weight = self.gate(x).softmax(-1)
        chosen = weight.argmax(-1, keepdim=True)
        outputs = torch.stack([expert(x) for expert in self.experts], -2)
        index = chosen.unsqueeze(-1).expand(*chosen.shape, outputs.shape[-1])
        return outputs.gather(-2, index).squeeze(-2) * weight.gather(-1, chosen)


class Squeezed(nn.Module):
    """A residual block with group norm."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(2, 4), nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


def images():
    return (draw(2, 4, 3),)


SOUND = [
    Sound("low_rank_adapter", Adapted, lambda: (draw(4, 3),), {"batch_dims": 1}),
    Sound("parametrization", Parametrized, lambda: (draw(4, 3),), {"batch_dims": 1}),
    Sound("spectral_norm_in_evaluation", SpectralNorm, lambda: (draw(4, 3),), train=False),
    Sound("weight_norm_by_hand", WeightNormByHand, lambda: (draw(4, 3),), {"batch_dims": 1}),
    Sound("module_hooks", Hooked, lambda: (draw(4, 3),)),
    Sound("layer_used_twice", UsedTwice, lambda: (draw(4, 3),)),
    Sound("tied_language_model", TiedLanguageModel, lambda: (torch.tensor([[0, 3, 3]]),)),
    Sound("parameter_lists", Lists, lambda: (draw(4, 3),)),
    Sound("weight_standardisation", Standardised, lambda: (draw(2, 2, 4),)),
    Sound("moving_mean", MovingMean, lambda: (draw(4, 3),)),
    Sound("drop_path", DropPath, lambda: (draw(4, 3),)),
    Sound("variational", Variational, lambda: (draw(4, 3),)),
    Sound("causal_attention", CausalAttention, lambda: (draw(2, 3, 4),)),
    Sound("rotary_positions", Rotated, lambda: (draw(3, 4),)),
    Sound("experts", Experts, lambda: (draw(4, 3),)),
    Sound("residual_group_norm", Squeezed, images),
]
