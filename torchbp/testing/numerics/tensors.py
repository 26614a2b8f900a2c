"""Helpers for tensors: copies, precisions, symmetry, differences."""

import math

import torch


def is_inexact(tensor):
    return tensor.is_floating_point() or tensor.is_complex()


def promoted(tensor):
    """A copy, in float64 or complex128; integers as they are."""
    return cast(tensor.detach(), torch.float64)


def cast(tensor, dtype):
    """A copy in the dtype, of a complex tensor in the complex dtype of that precision; integers as they are."""
    if not is_inexact(tensor):
        return tensor.clone()
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype, copy=True)


def as_real(tensor):
    """A complex tensor as (…, 2): its real and imaginary parts."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def flat(tensor):
    return as_real(tensor).reshape(-1)


def weights(shape, generator):
    """±u with u uniform in [½, 3/2): errors seldom cancel, and none is multiplied by 0."""
    size = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
    return size * (1.0 - 2.0 * torch.randint(2, shape, generator=generator))


def random_like(tensor, generator):
    """A tensor of `weights` with the shape, dtype and device of another."""
    numbers = weights(as_real(tensor).shape, generator)
    numbers = torch.view_as_complex(numbers) if tensor.is_complex() else numbers
    return numbers.to(device=tensor.device, dtype=tensor.dtype)


def direction_like(tensor, generator):
    """A random direction; for a symmetric matrix one in which it stays symmetric."""
    direction = random_like(tensor, generator)
    return (direction + direction.mT) / 2 if symmetric(tensor) else direction


def symmetric(tensor):
    """Whether it is a real matrix, or a batch of such, that is symmetric up to rounding.

    A Aᵀ is seldom symmetric to the last bit: that depends on the kernel that multiplies. How much is rounding depends
    on the precision of the numbers, which may be less than that of their dtype.
    """
    square = tensor.dim() >= 2 and tensor.shape[-1] == tensor.shape[-2] > 1
    if not square or tensor.is_complex() or tensor.layout != torch.strided:
        return False
    mirrored = torch.equal(tensor, tensor.mT)
    if mirrored or not tensor.is_floating_point():
        return mirrored
    most, matrix = 1e-2 * largest(tensor), tensor[(0,) * (tensor.dim() - 2)] if tensor.numel() else tensor
    # The first matrix shows it for nearly every weight of a convolution, without copies of all of it.
    if any(float((t - t.mT).abs().max()) > most for t in (matrix, tensor)):
        return False
    unit = max(torch.finfo(tensor.dtype).eps, coarseness(tensor.double()))
    return float((tensor - tensor.mT).abs().max()) <= 1e3 * unit * largest(tensor)


def evened(tensor):
    """(A + Aᵀ) / 2 of a matrix that is symmetric up to rounding; any other tensor as it is."""
    if symmetric(tensor) and not torch.equal(tensor, tensor.mT):
        return tensor / 2 + tensor.mT / 2
    return tensor


def coarseness(numbers):
    """The rounding unit of the precision in which numbers were computed, whatever their dtype is; 0 if unknown."""
    numbers = numbers[numbers.isfinite() & (numbers != numbers.round())]
    if numbers.numel() < 2:
        return 0.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if torch.equal(numbers.to(dtype).to(numbers.dtype), numbers):
            return torch.finfo(dtype).eps
    return 0.0


def nudged(tensor):
    """Nearer to 0 by less than float32 resolves: a result that is still a float32 number was computed as one."""
    return tensor * (1 - 1.047e-9) if is_inexact(tensor) else tensor


def freed(tensor):
    """Whether the storage ends before the tensor does: reading the tensor would read memory that was freed."""
    if tensor.layout != torch.strided or tensor.device.type == "meta" or not tensor.numel():
        return False
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.storage_offset() + last + 1) * tensor.element_size() > tensor.untyped_storage().nbytes()


def largest(tensor):
    """The greatest finite absolute value."""
    sizes = tensor.detach().abs() if tensor.dtype != torch.bool else tensor.double()
    found = float(sizes.max()) if sizes.numel() else 0.0
    if math.isfinite(found):
        return found
    finite = sizes[sizes.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def difference(a, b, floor=0.0, slack=0.0):
    """The greatest difference between two tensors, relative to the greatest number in them, or to `floor`.

    It is 0 if the difference is at most `slack`, the rounding error where numbers cancel.
    """
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    a = a.detach().to(torch.complex128 if a.is_complex() else torch.float64)
    b = b.detach().to(a.dtype)
    same = (a == b) | (a.isnan() & b.isnan())
    if bool(same.all()):
        return 0.0
    worst = float((a - b).abs().masked_fill(same, 0.0).max())
    if worst <= slack:
        return 0.0
    return float("inf") if worst != worst else worst / max(largest(a), largest(b), floor, 1e-300)


def differing(names, found, expected, tolerance, slacks, usual=None):
    """(name, relative difference) of the tensors that differ by more than the tolerance. `usual` gives their size."""
    floor = 1e-6 * max((largest(tensor) for tensor in expected), default=0.0)  # less than this may be rounding
    floors = [floor if usual is None else max(floor, largest(tensor)) for tensor in usual or expected]
    rows = zip(names, found, expected, floors, slacks, strict=True)
    gaps = [(name, difference(a, b, least, slack)) for name, a, b, least, slack in rows]
    return [(name, gap) for name, gap in gaps if not gap <= tolerance]


def first_line(error):
    """The first line of an error, of 300 characters at most."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0].strip(), 300) if lines else type(error).__name__


def shortened(text, most):
    """The text, or as many of its whole words as fit: half a URL helps nobody."""
    return text if len(text) <= most else f"{text[:most].rsplit(' ', 1)[0]} …"
