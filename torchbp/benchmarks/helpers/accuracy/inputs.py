"""The operations whose results are sums of many numbers: their inputs, and what they come to exactly.

`exact` is what the operation computes, of arrays of real or complex numbers. Its gradient needs no formula: of an input
with a small imaginary part ih, the imaginary part of the result is h times the derivative, and nothing is subtracted.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from torchbp.benchmarks.helpers.accuracy.exact_sums import (
    attention,
    average_pool,
    batch_norm,
    convolution,
    divergence,
    group_norm,
    largest,
    log_softmax,
    multi_head_attention,
    normalised,
    of_classes,
    transposed_convolution,
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """How an operation is measured.

    shapes: of its tensors; a tensor instead of a shape is given as it is. scales: what the first shape's is multiplied
        by.
    torchs: torch's function. call(function, *tensors): how ours and torch's are called. exact: the same of NumPy's
        arrays.
    """

    shapes: tuple
    torchs: Callable
    exact: Callable
    call: Callable = lambda function, *tensors: function(*tensors)
    scales: tuple = (1e-30, 1e-3, 1.0, 1e3, 1e30)


LOGITS = 1e-3, 1.0, 10.0, 100.0, 1e4
CLASSES = torch.tensor([0, 5, 2, 9, 2, 15])


def seeded(dropout, x):
    torch.manual_seed(0)
    return dropout(x, 0.3)


def dropping(name, shape):
    """A dropout, whose mask is drawn as it is for a tensor of ones."""
    torchs = getattr(F, name)

    @functools.cache  # a seed takes as long as all else here
    def mask():
        return seeded(torchs, torch.ones(shape)).numpy() > 0

    def exact(x):
        return np.where(mask(), x / (1 - np.longdouble(0.3)), 0)

    return Inputs(shapes=(shape,), torchs=torchs, call=seeded, exact=exact)


def convolutions(name, exact):
    return {
        f"{name}{d}d": Inputs(
            shapes=((2, 3, *[size] * d), (3, 3, *[kernel] * d), (3,)), torchs=getattr(F, f"{name}{d}d"), exact=exact
        )
        for d, size, kernel in ((1, 8, 3), (2, 5, 3), (3, 3, 2))
    }


def pools(name, exact):
    """Windows of 2, or an output of 2."""
    return {
        f"{name}{d}d": Inputs(
            shapes=((2, 3, *[size] * d),), torchs=getattr(F, f"{name}{d}d"), call=lambda f, x: f(x, 2), exact=exact
        )
        for d, size in ((1, 8), (2, 6), (3, 4))
    }


# {rule: keywords whose values are names or flags}, each of them measured; of the others the defaults
VARIANTS = {"gelu": ({}, {"approximate": "tanh"})}

# {rule, or rule and what is special about these inputs}
INPUTS = {
    "linear": Inputs(shapes=((4, 48), (5, 48), (5,)), torchs=F.linear, exact=lambda x, w, b: x @ w.T + b),
    "matmul": Inputs(shapes=((4, 48), (48, 5)), torchs=torch.matmul, exact=lambda a, b: a @ b),
    "addmm": Inputs(
        shapes=((5,), (4, 48), (48, 5)),
        torchs=torch.addmm,
        call=lambda f, c, a, b: f(c, a, b, beta=0.5, alpha=3),
        exact=lambda c, a, b: c / 2 + 3 * (a @ b),
    ),
    "baddbmm": Inputs(
        shapes=((5,), (3, 4, 32), (3, 32, 5)),
        torchs=torch.baddbmm,
        call=lambda f, c, a, b: f(c, a, b, beta=0.5, alpha=3),
        exact=lambda c, a, b: c / 2 + 3 * (a @ b),
    ),
    "ensemble_linear": Inputs(
        shapes=((3, 4, 32), (3, 5, 32), (3, 5)),
        torchs=lambda x, w, b: torch.baddbmm(b.unsqueeze(1), x, w.mT),
        exact=lambda x, w, b: x @ w.swapaxes(1, 2) + b[:, None],
    ),
    "ensemble_scale": Inputs(
        shapes=((3, 4, 32), (3, 32), (3, 32)),
        torchs=lambda x, w, b: torch.addcmul(b.unsqueeze(1), x, w.unsqueeze(1)),
        exact=lambda x, w, b: x * w[:, None] + b[:, None],
    ),
    "prelu": Inputs(
        shapes=((6, 4, 8), (4,)),
        torchs=F.prelu,
        exact=lambda x, w: np.where(x.real > 0, x, x * w[:, None]),
    ),
    "softmax": Inputs(
        shapes=((6, 16),),
        torchs=F.softmax,
        call=lambda f, z: f(z, dim=-1),
        exact=lambda z: np.exp(log_softmax(z)),
        scales=LOGITS,
    ),
    "log_softmax": Inputs(
        shapes=((6, 16),), torchs=F.log_softmax, call=lambda f, z: f(z, dim=-1), exact=log_softmax, scales=LOGITS
    ),
    "glu": Inputs(
        shapes=((6, 16),),
        torchs=F.glu,
        exact=lambda x: x[:, :8] / (1 + np.exp(-x[:, 8:])),
        scales=(1e-30, 1e-3, 1.0, 10.0, 30.0),
    ),
    "cross_entropy": Inputs(
        shapes=((6, 16), CLASSES),
        torchs=F.cross_entropy,
        exact=lambda z, y: of_classes(log_softmax(z), y),
        scales=LOGITS,
    ),
    "cross_entropy, of a sure class": Inputs(
        shapes=(20 * torch.eye(1, 16), torch.tensor([0])),
        torchs=F.cross_entropy,
        exact=lambda z, y: np.log1p(np.exp(z[0, 1:] - z[0, 0]).sum()),  # −ln P_0, of which nothing cancels
        scales=(1.0,),
    ),
    "kl_div": Inputs(
        shapes=((6, 16), (6, 16)),
        torchs=F.kl_div,
        call=lambda f, x, y: f(x, y.abs(), reduction="batchmean"),
        exact=divergence,
        scales=LOGITS,
    ),
    "nll_loss": Inputs(shapes=((6, 16), CLASSES), torchs=F.nll_loss, exact=of_classes),
    "layer_norm": Inputs(
        shapes=((6, 32), (32,), (32,)),
        torchs=F.layer_norm,
        call=lambda f, x, w, b: f(x, (32,), w, b),
        exact=lambda x, w, b: normalised(x, -1) * w + b,
    ),
    "rms_norm": Inputs(
        shapes=((6, 32), (32,)),
        torchs=F.rms_norm,
        call=lambda f, x, w: f(x, (32,), w, 1e-5),
        exact=lambda x, w: normalised(x, -1, mean=False) * w,
    ),
    "batch_norm": Inputs(
        shapes=((4, 3, 8), (3,), (3,)),
        torchs=F.batch_norm,
        call=lambda f, x, w, b: f(x, None, None, w, b, training=True),
        exact=batch_norm,
    ),
    "group_norm": Inputs(
        shapes=((3, 4, 8), (4,), (4,)), torchs=F.group_norm, call=lambda f, x, w, b: f(x, 2, w, b), exact=group_norm(2)
    ),
    "instance_norm": Inputs(
        shapes=((3, 4, 8), (4,), (4,)),
        torchs=F.instance_norm,
        call=lambda f, x, w, b: f(x, weight=w, bias=b),
        exact=group_norm(4),
    ),
    "embedding": Inputs(
        shapes=((16, 8), CLASSES),
        torchs=F.embedding,
        call=lambda f, weight, indices: f(indices, weight),
        exact=lambda weight, indices: weight[indices],
    ),
    "periodic_embedding": Inputs(
        shapes=((6, 4), (3, 5), (3, 5)),
        torchs=lambda x, w, b: torch.cat([x, torch.cos(x[:, :3, None] * w + b).flatten(1)], 1),
        exact=lambda x, w, b: np.concatenate([x, np.cos(x[:, :3, None] * w + b).reshape(len(x), -1)], 1),
        scales=(1e-3, 1.0, 10.0),
    ),
    "dropout": dropping("dropout", (6, 16)),
    "dropout1d": dropping("dropout1d", (4, 6, 3)),
    "dropout2d": dropping("dropout2d", (4, 6, 3, 1)),
    "dropout3d": dropping("dropout3d", (4, 6, 3, 1, 1)),
    "flatten": Inputs(shapes=((2, 3, 4),), torchs=torch.flatten, exact=np.ravel),
    **convolutions("conv", convolution),
    **convolutions("conv_transpose", transposed_convolution),
    **pools("avg_pool", average_pool),
    **pools("max_pool", largest),
    **pools("adaptive_avg_pool", lambda x: average_pool(x, x.shape[-1] // 2)),
    "scaled_dot_product_attention": Inputs(
        shapes=((2, 2, 8, 4), (2, 2, 8, 4), (2, 2, 8, 4)),
        torchs=F.scaled_dot_product_attention,
        exact=attention,
        scales=(1e-3, 1.0, 10.0, 100.0),
    ),
    "multi_head_attention_forward": Inputs(
        shapes=((6, 2, 4), (12, 4), (12,), (4, 4), (4,)),
        torchs=F.multi_head_attention_forward,
        call=lambda f, x, w, b, w_o, b_o: f(x, x, x, 4, 2, w, b, None, None, False, 0.0, w_o, b_o)[0],
        exact=multi_head_attention,
        scales=(1e-3, 1.0, 10.0),
    ),
}
