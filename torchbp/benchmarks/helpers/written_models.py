"""The networks of `torchbp bench models` that are written here."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical


class MixerBlock(nn.Module):
    """One MLP mixes the tokens and another the channels, each after a LayerNorm and beside a residual connection."""

    def __init__(self, tokens, width):
        super().__init__()
        self.token_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token_mlp, self.channel_mlp = self.mlp(tokens, 2 * tokens), self.mlp(width, 4 * width)

    @staticmethod
    def mlp(features, hidden):
        return nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, features))

    def forward(self, x):  # (rows, tokens, width)
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.channel_norm(x))


class MLPMixer(nn.Module):
    """The network of Tolstikhin et al., 2021: https://arxiv.org/abs/2105.01601"""

    def __init__(self, width, blocks, pixels, patch, classes=10):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.blocks = nn.Sequential(*(MixerBlock((pixels // patch) ** 2, width) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


class ActorCritic(nn.Module):
    """A policy and a value over one body. Its activations are functions, and its policy is a distribution."""

    def __init__(self, observations, width, actions):
        super().__init__()
        self.body, self.hidden = nn.Linear(observations, width), nn.Linear(width, width)
        self.policy, self.value = nn.Linear(width, actions), nn.Linear(width, 1)

    def forward(self, observations):
        x = F.silu(self.hidden(torch.tanh(self.body(observations))))
        return Categorical(logits=self.policy(x)), self.value(x).squeeze(-1)


class Attention(nn.Module):
    """Attention alone, of queries, keys and values that are parameters: for the memory that it takes."""

    def __init__(self, rows, heads, tokens, width):
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(rows, heads, tokens, width)) for _ in range(3))

    def forward(self):
        return F.scaled_dot_product_attention(self.q, self.k, self.v, is_causal=True)
