"""The accuracy of the operations of `accuracy.inputs`, normwise: an error in the ulp of the largest element."""

import numpy as np
import torch

from torchbp.benchmarks.helpers.accuracy.elements import incoming
from torchbp.benchmarks.helpers.accuracy.ulps import errors, long

STEP = np.longdouble("1e-2000")  # its square is 0: nothing but the derivative is left


def measured(rule, row, dtype, draws):
    """(direction, whose, errors, where) of one dtype, of as many draws for each magnitude."""
    for scale in row.scales:
        if not torch.finfo(dtype).smallest_normal * 100 < scale < torch.finfo(dtype).max / 100:
            continue
        for seed in range(draws):
            inputs = drawn(row, scale, seed, dtype)
            value, gradients = exact(row.exact, inputs, incoming)
            for whose, operation in (("ours", rule.apply), ("torch", row.torchs)):
                leaves = [t.clone().requires_grad_(t.is_floating_point()) for t in inputs]
                output = row.call(operation, *leaves)
                found = torch.autograd.grad(output, [leaf for leaf in leaves if leaf.requires_grad], incoming(output))
                yield "forward", whose, errors(output, value, normwise=True), scale
                for gradient, wanted in zip(found, gradients, strict=True):
                    yield "backward", whose, errors(gradient, wanted, normwise=True), scale


def drawn(row, scale, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i, shape in enumerate(row.shapes):
        if isinstance(shape, torch.Tensor):
            made.append(shape.to(dtype) if shape.is_floating_point() else shape)
            continue
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64)
        made.append((numbers * (scale if i == 0 else 1)).to(dtype))
    return made


def exact(function, inputs, incoming):
    """The value, and the gradients of Σ incoming ∘ value by each floating input."""
    arrays = [long(t) if t.is_floating_point() else t.numpy() for t in inputs]
    value = function(*arrays)
    dtype = next(t.dtype for t in inputs if t.is_floating_point())
    factor = long(incoming(torch.empty(value.shape, dtype=dtype)))
    gradients = []
    for i, t in enumerate(inputs):
        if not t.is_floating_point():
            continue
        gradient = np.zeros(arrays[i].shape, dtype=np.longdouble)
        for index in np.ndindex(arrays[i].shape):
            shifted = arrays[i].astype(np.clongdouble)
            shifted[index] += 1j * STEP
            result = function(*arrays[:i], shifted, *arrays[i + 1 :])
            gradient[index] = (factor * (result.imag / STEP)).sum()
        gradients.append(gradient)
    return value, gradients
