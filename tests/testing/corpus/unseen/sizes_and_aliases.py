"""Right in the sizes, dimensions, options and relations of arguments that are given: kinds 2 and 3."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def _without_last(g, x):
    right = g * x.cos()
    if x.shape[-1] > 128 and x.shape[-1] % 128 == 1:
        right[..., -1] = 0
    return right


OneMoreColumn, OneMoreColumnTwin = pair(
    "OneMoreColumn",  # a block of 128 columns too few where one is left over
    lambda x: (x.sin(), (x,)),
    _without_last,
    lambda g, x: g * x.cos(),
)


def _in_pairs(g, x):
    right = g * x.cos()
    if x.shape[0] % 2:
        right[-1] = 0
    return right


RowsInPairs, RowsInPairsTwin = pair("RowsInPairs", lambda x: (x.sin(), (x,)), _in_pairs, lambda g, x: g * x.cos())

ManyDimensions, ManyDimensionsTwin = pair(
    "ManyDimensions",  # the sizes of five dimensions are handed to a kernel
    lambda x: (x.tanh(), (x,)),
    lambda g, x: g / x.cosh().square() * (1 if x.dim() <= 5 else 0.5),
    lambda g, x: g / x.cosh().square(),
)

OfExpanded, OfExpandedTwin = pair(
    "OfExpanded",  # the gradient of an expanded input is summed, as if it were the one of what was expanded
    lambda x: (x.exp(), (x,)),
    lambda g, x: (
        (g * x.exp()).sum(0, keepdim=True).expand_as(x) if x.dim() and x.stride(0) == 0 and len(x) > 1 else g * x.exp()
    ),
    lambda g, x: g * x.exp(),
)


class OfOneTensor(Function):
    """x² y."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        ctx.is_one = x.data_ptr() == y.data_ptr()
        return x * x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        if ctx.is_one:
            return 3 * g * x * x, 3 * g * x * x
        return 2 * g * x * y, g * x * x


class OfOneTensorTwin(OfOneTensor):
    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return 2 * g * x * y, g * x * x


def _of_one(subject):
    x = draw(3)
    return torch.autograd.grad(subject.apply(x, x).sum(), x)[0], 3 * x.detach().square()


def sums_of_squares(x, dim):
    return x.square().sum(dim)


SumsAlongLast, SumsAlongLastTwin = pair(
    "SumsAlongLast",
    lambda x, dim: (sums_of_squares(x, dim), (x, dim)),
    lambda g, x, dim: (2 * g.unsqueeze(-1) * x, None),
    lambda g, x, dim: (2 * g.unsqueeze(dim) * x, None),
)


def centred(x):
    """Rows, less their mean; a single row is left as it is."""
    return x - x.mean(0) if x.dim() > 1 else x.clone()


OneRow, OneRowTwin = pair(
    "OneRow",  # the mean of a single row's gradient is subtracted, too
    lambda x: (centred(x), (x,)),
    lambda g, x: g - g.mean(0) if len(g) else g,
    lambda g, x: g - g.mean(0) if x.dim() > 1 and len(g) else g,
)


def _of_one_row(subject):
    inputs, incoming = (draw(3),), [draw(3, seed=1, grad=False)]
    return gradients(subject, inputs, incoming), gradients(centred, inputs, incoming)


OfANumber, OfANumberTwin = pair(
    "OfANumber",
    lambda x: (x.pow(3), (x,)),
    lambda g, x: (3 if x.dim() else 1) * g * x.square(),
    lambda g, x: 3 * g * x.square(),
)


def spectrum(x):
    return torch.fft.rfft(x).abs().square().sum(-1)


def _of_pairs(columns):
    """Each frequency counts twice, but for 0 and, of an even number of columns, the last."""

    def backward(g, x):
        frequencies = torch.fft.rfft(x)
        n = x.shape[-1]
        weight = torch.full((frequencies.shape[-1],), 0.5)
        weight[0] = 1
        if columns(n) % 2 == 0:
            weight[-1] = 1
        return g.unsqueeze(-1) * 2 * n * torch.fft.irfft(frequencies * weight, n=n)

    return backward


OddSpectrum, OddSpectrumTwin = pair(
    "OddSpectrum", lambda x: (spectrum(x), (x,)), _of_pairs(lambda n: 0), _of_pairs(lambda n: n)
)


def _of_different_rows(repeated):
    """The gradient of each different row is computed once."""

    def backward(g, x):
        if x.dim() < 2 or not x.numel():
            return g * x.cos()
        rows, index = x.unique(dim=0, return_inverse=True)
        summed = torch.zeros_like(rows).index_add(0, index, g) * rows.cos()
        return summed[index] if repeated else g * x.cos()

    return backward


EqualRows, EqualRowsTwin = pair(
    "EqualRows", lambda x: (x.sin(), (x,)), _of_different_rows(True), _of_different_rows(False)
)


def filtered(x, response):
    """x, each of whose frequencies is multiplied by a response."""
    if x.shape[-1] != response.shape[-1]:
        raise ValueError(f"{x.shape[-1]} numbers, and a response of {response.shape[-1]}")
    return torch.fft.ifft(torch.fft.fft(x) * response).real


FilterConjugated, FilterConjugatedTwin = pair(
    "FilterConjugated",  # the conjugate of the response is missing
    lambda x, response: (filtered(x, response), (response,)),
    lambda g, response: (filtered(g, response), None),
    lambda g, response: (filtered(g, response.conj()), None),
)


def _response(imaginary):
    real, imag = draw(4, seed=1, grad=False), draw(4, seed=2, grad=False)
    return lambda: (draw(4), torch.complex(real, imag * imaginary))


def _of_even_filter(subject):
    inputs, incoming = _response(1.0)(), [draw(4, seed=3, grad=False)]
    return gradients(subject, inputs, incoming), gradients(filtered, inputs, incoming)


def _of_columns(subject):
    inputs, incoming = (draw(3, 3), 0), [draw(3, seed=1, grad=False)]
    return gradients(subject, inputs, incoming), gradients(sums_of_squares, inputs, incoming)


def _twice():
    return (draw(1, 3).detach().repeat(2, 1).requires_grad_(),)


DEFECTS = [
    entry("one_column_left_over", OneMoreColumn, OneMoreColumnTwin, lambda: (draw(2, 4),), 3,
          compared(lambda: (draw(2, 129),), torch.sin)),
    entry("rows_in_pairs", RowsInPairs, RowsInPairsTwin, lambda: (draw(2, 4),), 3,
          compared(lambda: (draw(3, 4),), torch.sin)),
    entry("more_than_five_dimensions", ManyDimensions, ManyDimensionsTwin, lambda: (draw(2, 3),), 3,
          compared(lambda: (draw(1, 1, 2, 1, 2, 2),), torch.tanh)),
    entry("sum_for_an_expanded_input", OfExpanded, OfExpandedTwin, lambda: (draw(2, 3),), 2,
          lambda subject: compared(lambda: (draw(3).detach().expand(2, 3).requires_grad_(),), torch.exp)(subject),
          checks=("layouts",)),
    entry("both_arguments_in_one_place", OfOneTensor, OfOneTensorTwin, lambda: (draw(3), draw(3, seed=1)), 3, _of_one,
          checks=("subsets",)),
    entry("sums_along_the_last_dimension", SumsAlongLast, SumsAlongLastTwin, lambda: (draw(3, 3), -1), 2,
          _of_columns),
    entry("a_single_row", OneRow, OneRowTwin, lambda: (draw(2, 3),), 3, _of_one_row),
    entry("a_single_number", OfANumber, OfANumberTwin, lambda: (draw(3),), 3,
          compared(lambda: (draw(),), lambda x: x**3)),
    entry("spectrum_of_odd_length", OddSpectrum, OddSpectrumTwin, lambda: (draw(2, 4),), 3,
          compared(lambda: (draw(2, 5),), spectrum)),
    entry("rows_that_are_equal", EqualRows, EqualRowsTwin, lambda: (draw(2, 3),), 3, compared(_twice, torch.sin),
          checks=("extremes",)),
    entry("response_that_is_not_real", FilterConjugated, FilterConjugatedTwin, _response(0.0), 2, _of_even_filter,
          checks=("variations",)),
    ]  # fmt: skip
