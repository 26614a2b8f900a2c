"""hypothesis drives ours and torch's side by side: shapes, strides, dtypes, requires_grad subsets and reductions."""

import warnings

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torchbp import ops


def promoted(loss):
    """torch's loss, of one dtype: the gradient of huber_loss, and before 2.13 of mse_loss, is an error of two."""

    def of_one_dtype(x, y, **options):
        dtype = torch.promote_types(x.dtype, y.dtype)
        return loss(x.to(dtype), y.to(dtype), **options)

    return of_one_dtype


ELEMENTWISE = [(ops.sigmoid, torch.sigmoid), (ops.tanh, torch.tanh), (ops.relu, F.relu)]
LOSSES = [
    (ops.mse_loss, promoted(F.mse_loss)),
    (ops.l1_loss, F.l1_loss),
    (ops.huber_loss, promoted(F.huber_loss)),
    (ops.smooth_l1_loss, F.smooth_l1_loss),
    (ops.binary_cross_entropy, F.binary_cross_entropy),
    (ops.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits),
]
DTYPES = [torch.float32, torch.float64, torch.complex64]
sizes = st.integers(0, 4)
shapes = st.lists(sizes, max_size=5).map(tuple)
seeds = st.integers(0, 2**31)
examples = settings(max_examples=200, deadline=None, derandomize=True)


@st.composite
def layouts(draw, shape, dtype, unit=False):
    """A tensor of the shape with any strides: permuted, sliced, or expanded along any dimension."""
    generator = torch.Generator().manual_seed(draw(seeds))
    order = draw(st.permutations(range(len(shape))))
    expanded = [draw(st.booleans()) and draw(st.booleans()) for _ in shape]
    step = [draw(st.integers(1, 2)) for _ in shape]
    base = [1 if expanded[d] else shape[d] * step[d] for d in order]
    make = torch.rand if unit else torch.randn
    t = make(base, generator=generator, dtype=dtype) * (1 if unit else draw(st.sampled_from([1.0, 30.0])))
    t = t.permute([order.index(d) for d in range(len(shape))])
    for d in range(len(shape)):
        t = (
            t.expand(*shape[: d + 1], *t.shape[d + 1 :])
            if expanded[d]
            else t[(slice(None),) * d + (slice(None, None, step[d]),)]
        )
    assert t.shape == shape
    return t


def outcome(function, tensors, needs, **options):
    """The value and the gradients, or the class of the error."""
    leaves = [
        t.detach().requires_grad_(n and t.is_floating_point() | t.is_complex())
        for t, n in zip(tensors, needs, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            output = function(*leaves, **options)
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            if not wanted:
                return [output]
            incoming = torch.ones((), dtype=output.dtype).expand(output.shape)
            return [output.detach(), *torch.autograd.grad(output, wanted, incoming)]
        except Exception as error:
            return type(error)


def assert_same(ours, torchs, tensors, needs, **options):
    results = [outcome(function, tensors, needs, **options) for function in (ours, torchs)]
    if isinstance(results[1], type):
        assert results[0] is results[1], results
    else:
        torch.testing.assert_close(*results, equal_nan=True, rtol=1e-5, atol=2e-5)


@examples
@given(st.data())
def test_linear(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    leading, inputs, outputs = data.draw(st.lists(sizes, max_size=4)), data.draw(sizes), data.draw(sizes)
    wrong = data.draw(st.sampled_from([0, 0, 0, 0, 1]))  # now and then, shapes that do not fit
    x = data.draw(layouts((*leading, inputs), dtype))
    weight = data.draw(layouts((outputs, inputs + wrong), dtype))
    bias = data.draw(layouts((outputs,), dtype))
    tensors = [x, weight, bias][: data.draw(st.integers(2, 3))]
    assert_same(ops.linear, F.linear, tensors, [data.draw(st.booleans()) for _ in tensors])


@examples
@given(st.data(), shapes, st.sampled_from(ELEMENTWISE), st.sampled_from([*DTYPES, torch.int64]))
def test_activations(data, shape, pair, dtype):
    x = torch.ones(shape, dtype=dtype) if dtype is torch.int64 else data.draw(layouts(shape, dtype))
    assert_same(*pair, [x], [data.draw(st.booleans())])


@examples
@given(st.data(), shapes, st.sampled_from(LOSSES), st.sampled_from(["mean", "sum", "none"]))
def test_losses(data, shape, pair, reduction):
    dtypes = data.draw(st.sampled_from([(torch.float32,) * 2, (torch.float64,) * 2, (torch.float32, torch.float64)]))
    other = data.draw(st.sampled_from([shape, shape, shape, (*shape, 2), shape[1:]]))
    unit = pair[0] is ops.binary_cross_entropy
    x = data.draw(layouts(shape, dtypes[0], unit=unit))
    y = data.draw(layouts(other, dtypes[1], unit=True))
    options = {"reduction": reduction}
    if pair[0] in (ops.binary_cross_entropy, ops.binary_cross_entropy_with_logits) and data.draw(st.booleans()):
        options["weight"] = data.draw(layouts(shape[data.draw(st.integers(0, len(shape))) :], dtypes[0], unit=True))
    if pair[0] is ops.binary_cross_entropy_with_logits and data.draw(st.booleans()):
        options["pos_weight"] = data.draw(layouts(shape[-1:], dtypes[0], unit=True))
    assert_same(*pair, [x, y], [data.draw(st.booleans()) for _ in range(2)], **options)
