"""Small questions about tensors: copies, precisions, differences."""

import torch


def is_inexact(tensor):
    return tensor.is_floating_point() or tensor.is_complex()


def promoted(tensor):
    """A copy, in float64 or complex128; integers as they are."""
    return cast(tensor.detach(), torch.float64)


def cast(tensor, dtype):
    """A copy, in the dtype or the complex dtype of its precision; integers as they are."""
    if not is_inexact(tensor):
        return tensor.clone()
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype, copy=True)


def as_real(tensor):
    """A complex tensor as one of pairs, as the real derivatives see it."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def flat(tensor):
    return as_real(tensor).reshape(-1)


def weights(shape, generator):
    """±u with u uniform in [½, 3/2): no two errors cancel by chance, and none is multiplied by 0."""
    size = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
    return size * (1.0 - 2.0 * torch.randint(2, shape, generator=generator))


def random_like(tensor, generator):
    """A tensor of `weights`."""
    number = weights(as_real(tensor).shape, generator)
    number = torch.view_as_complex(number) if tensor.is_complex() else number
    return number.to(device=tensor.device, dtype=tensor.dtype)


def direction_like(tensor, generator):
    """A random direction; of a symmetric matrix one in which it stays symmetric."""
    direction = random_like(tensor, generator)
    return (direction + direction.mT) / 2 if symmetric(tensor) else direction


def symmetric(tensor):
    """Whether it is a real matrix, or a batch of such, that is symmetric up to rounding.

    A Aᵀ is seldom symmetric to the last bit: that depends on the kernel that multiplies. What is rounding is told from
    the precision that the numbers have, which may be less than that of their dtype.
    """
    square = tensor.dim() >= 2 and tensor.shape[-1] == tensor.shape[-2] > 1
    if not square or tensor.is_complex():
        return False
    mirrored = torch.equal(tensor, tensor.mT)
    if mirrored or not tensor.is_floating_point():
        return mirrored
    unit = max(torch.finfo(tensor.dtype).eps, coarseness(tensor.double()))
    return float((tensor - tensor.mT).abs().max()) <= min(1e3 * unit, 1e-2) * largest(tensor)


def evened(tensor):
    """A tensor; what is symmetric up to rounding, to the last bit: the mean with its mirror image."""
    if symmetric(tensor) and not torch.equal(tensor, tensor.mT):
        return tensor / 2 + tensor.mT / 2
    return tensor


def coarseness(numbers):
    """The rounding unit of the precision that numbers were computed in, whatever dtype they have now; 0 if unknown."""
    numbers = numbers[numbers.isfinite() & (numbers != numbers.round())]
    if numbers.numel() < 2:
        return 0.0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        if torch.equal(numbers.to(dtype).to(numbers.dtype), numbers):
            return torch.finfo(dtype).eps
    return 0.0


def nudged(tensor):
    """A hair nearer to 0, which float32 cannot hold: what stays a float32 number is computed as one."""
    return tensor * (1 - 1.047e-9) if is_inexact(tensor) else tensor


def freed(tensor):
    """Whether the storage ends before the tensor does, so that whoever reads it reads what is not there."""
    if tensor.layout != torch.strided or tensor.device.type == "meta" or not tensor.numel():
        return False
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (tensor.storage_offset() + last + 1) * tensor.element_size() > tensor.untyped_storage().nbytes()


def largest(tensor):
    """The greatest finite absolute value."""
    sizes = tensor.detach().abs() if tensor.dtype != torch.bool else tensor.double()
    if sizes.numel() and not bool(sizes.max().isfinite()):
        sizes = sizes[sizes.isfinite()]
    return float(sizes.max()) if sizes.numel() else 0.0


def difference(a, b, floor=0.0, slack=0.0):
    """The greatest difference between two tensors, relative to the greatest number in them, or to `floor`.

    0 where it is no more than `slack`, the rounding of what may have cancelled.
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


def unlike(names, found, expected, tolerance, slacks, usual=None):
    """The names of the tensors that differ by more than the tolerance, with how much. `usual` gives their size."""
    floor = 1e-6 * max((largest(tensor) for tensor in expected), default=0.0)  # what is rounding beside the others
    floors = [floor if usual is None else max(floor, largest(tensor)) for tensor in usual or expected]
    rows = zip(names, found, expected, floors, slacks, strict=True)
    gaps = [(name, difference(a, b, least, slack)) for name, a, b, least, slack in rows]
    return [(name, gap) for name, gap in gaps if not gap <= tolerance]


def first_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip()[:300] if lines else type(error).__name__
