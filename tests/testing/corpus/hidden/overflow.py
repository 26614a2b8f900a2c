"""A forward that overflows in float32, where it is finite in float64."""

import math

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import draw
from tests.testing.corpus.hidden.demonstrations import sigmoid, tanh
from tests.testing.corpus.hidden.entry import entry


def log_cosh(x):
    return torch.log(torch.cosh(x))


def log_cosh_twin(x):
    return x.abs() + F.softplus(-2 * x.abs()) - math.log(2)


def naive_log_sum(x):
    return x.exp().sum(-1).log()


def naive_log_sum_twin(x):
    return x.logsumexp(-1)


def softplus(x):
    return torch.log(1 + torch.exp(x))


def _stays_finite(subject):
    return bool(subject(torch.tensor([[100.0]])).isfinite()), True


def softmax(x):
    return x.exp() / x.exp().sum(-1, keepdim=True)


def softmax_twin(x):
    return x.softmax(-1)


def log_sigmoid(x):
    return -torch.log(1 + torch.exp(-x))


def _finite(subject, x):
    return bool(subject(torch.tensor([x])).isfinite().all()), True


DEFECTS = [
    entry("unseen: a cosine that overflows", log_cosh, log_cosh_twin, lambda: (draw(1, 3),), 12,
          lambda subject: (bool(subject(torch.tensor([[100.0]])).isfinite()), True),
          source="Lightning-AI/torchmetrics#3488: log(cosh(x)) was infinite for large finite x"),
    entry("unseen: a sum that overflows", naive_log_sum, naive_log_sum_twin, lambda: (draw(2, 3),), 12,
          lambda subject: (bool(subject(torch.tensor([[100.0]])).isfinite()), True),
          source="rushter/MLAlgorithms#30: log(1 + exp(x)) was infinite for large x"),
    entry("softplus_overflows", softplus, F.softplus, lambda: (draw(1, 3),), 12, _stays_finite,
          "tracel-ai/burn#5373: softplus by exp was infinite from 89 on, and its gradient nan"),
    entry("sigmoid_overflows", sigmoid, torch.sigmoid, lambda: (draw(1, 3),), 12, _stays_finite,
          source="clab/dynet#1525: sigmoid by exp was nan from 89 on"),
    entry("tanh_overflows", tanh, torch.tanh, lambda: (draw(1, 3),), 12, _stays_finite,
          source="ROCm/triton#900: tanh by exp(2x) was nan for large x"),
    entry("softmax_overflows", softmax, softmax_twin, lambda: (draw(2, 3),), 12, lambda s: _finite(s, [100.0, 0.0]),
          "uTensor/uTensor#175: softmax without the largest logit subtracted was nan"),
    entry("log_sigmoid_overflows", log_sigmoid, F.logsigmoid, lambda: (draw(2, 3),), 12, lambda s: _finite(s, [-100.0]),
          "pytorch/pytorch#1835: the logarithm of sigmoid was infinite for large negative numbers"),
]  # fmt: skip
