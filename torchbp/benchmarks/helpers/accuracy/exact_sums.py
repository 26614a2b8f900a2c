"""Equations of operations whose results are sums of many numbers, once more: of NumPy's arrays, real or complex."""

import numpy as np


def shifted(z):
    """Z − max Z and ln Σ exp of it, in each row: what softmax and its relatives are made of."""
    z = z - z.real.max(-1, keepdims=True)
    return z, np.log(np.exp(z).sum(-1, keepdims=True))


def log_softmax(z):
    z, log_sum = shifted(z)
    return z - log_sum


def normalised(x, axes, mean=True, eps=1e-5):
    """(X − μ) / √(σ² + ε), with the mean and variance over these axes; without `mean` X over its root mean square."""
    x = x - x.mean(axes, keepdims=True) if mean else x
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + np.longdouble(eps))


def per_channel(parameter, x):
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(x, weight, bias):
    axes = (0, *range(2, x.ndim))
    return normalised(x, axes) * per_channel(weight, x) + per_channel(bias, x)


def group_norm(groups):
    def norm(x, weight, bias):
        grouped = normalised(x.reshape(len(x), groups, -1), -1).reshape(x.shape)
        return grouped * per_channel(weight, x) + per_channel(bias, x)

    return norm


def windows(x, size, stride):
    """(…, places, size): the windows of each dimension after the second, their elements last."""
    found = np.lib.stride_tricks.sliding_window_view(x, size, tuple(range(2, x.ndim)))
    return found[(slice(None), slice(None), *[slice(None, None, stride)] * (x.ndim - 2))]


def convolution(x, weight, bias):
    size = weight.shape[2:]
    places = windows(x, size, 1)  # (N, in, …, …size)
    kernel = range(x.ndim, x.ndim + len(size))
    z = np.tensordot(places, weight, ((1, *kernel), (1, *range(2, weight.ndim))))  # (N, …, out)
    return np.moveaxis(z, -1, 1) + per_channel(bias, x)


def transposed_convolution(x, weight, bias):
    size = weight.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), *[(s - 1, s - 1) for s in size]))
    flipped = np.flip(weight.swapaxes(0, 1), tuple(range(2, weight.ndim)))
    return convolution(padded, flipped, bias)


def average_pool(x, size=2):
    return windows(x, (size,) * (x.ndim - 2), size).mean(tuple(range(x.ndim, 2 * x.ndim - 2)))


def largest(x, size=2):
    found = windows(x, (size,) * (x.ndim - 2), size)
    found = found.reshape(*found.shape[: x.ndim], -1)
    return np.take_along_axis(found, found.real.argmax(-1)[..., None], -1)[..., 0]


def attention(q, k, v):
    z, log_sum = shifted(q @ k.swapaxes(-1, -2) / np.sqrt(np.longdouble(q.shape[-1])))
    return np.exp(z - log_sum) @ v


def multi_head_attention(x, w, b, w_o, b_o, heads=2):
    """Of (L, N, E), and its own keys."""
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2, 0, 3) for t in np.split(x @ w.T + b, 3, -1))
    return attention(q, k, v).transpose(2, 0, 1, 3).reshape(x.shape) @ w_o.T + b_o


def of_classes(z, classes):
    return -np.take_along_axis(z, classes[:, None], 1).mean()


def divergence(x, y):
    y = np.where(y.real > 0, y, -y)
    return (y * (np.log(y) - x)).sum() / len(x)
