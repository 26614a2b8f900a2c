"""What has no gradient is varied: constants, indices, masks, numbers and options. One value of them hides much."""

import copy
import warnings

import torch

from torchbp.testing.checks.inputs.other_calls import FEW, audit_other_call
from torchbp.testing.cpu_clock import cpu_seconds
from torchbp.testing.numerics.gradients import generator, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.rounding import Overflows
from torchbp.testing.numerics.tensors import is_inexact, largest
from torchbp.testing.report import Skipped, Unsupported
from torchbp.testing.subject.naming import listing

_WORDS = (  # options of which the function may know the others of the same kind
    ("mean", "sum", "none", "batchmean"),
    ("none", "tanh"),
    ("zeros", "border", "reflection"),
    ("constant", "reflect", "replicate", "circular"),
    ("nearest", "linear", "bilinear", "bicubic", "trilinear"),
    ("same", "valid"),
)
_IGNORED = -100  # torch's usual ignore_index
_WITH_ZERO = "with 0 first"
_AS_BYTES = "as uint8"
_EPS = 1e-3  # a number up to this size keeps a root or a quotient from 0, and is never 0 itself
_SECONDS = 5.0  # of the CPU, after which each argument has one other value alone; the report says so


def variations(subject):
    """Right at other constants, indices, masks and options, as far as the function takes them."""
    need(subject)
    if compare(subject, whole=FEW).any_wrong:
        raise Skipped("the gradient is wrong at the inputs: see values")
    varied, names, refused = {}, [], []
    end, late = cpu_seconds() + _SECONDS, ""
    for name, words, other in _variations(subject):
        if name in names and cpu_seconds() > end:
            late = f"; after {_SECONDS:g} s with one other value each"
            continue
        names.append(name)
        if audit_other_call(subject, other, f"{name} {words}", False, refused):
            varied.setdefault(name, words)
    if not names:
        raise Skipped("every argument has a gradient, and is varied by other checks")
    fixed = [name for name in dict.fromkeys(names) if name not in varied]
    if refused:
        raise Unsupported(refused[0])
    if not varied:
        raise Skipped(f"not varied, as the function takes no other values: {listing(fixed)}")
    return f"varied: {listing(varied)}" + (f"; not varied: {listing(fixed)}" if fixed else "") + late


def _variations(subject):
    """(name, words, subject) of each other call."""
    source, left_out_if = generator(subject, 16), {_WITH_ZERO: _is_never_zero, _AS_BYTES: _is_deprecated}
    for i, argument in enumerate(subject.arguments):
        tensor = argument.tensor
        if not tensor.numel() or argument.kind == "incoming" or (tensor.is_complex() and argument.differentiable):
            continue
        for words, other in _other_values(subject, i, source):
            changed = subject.at([other if j == i else t for j, t in enumerate(subject.point)])
            if words not in left_out_if or not left_out_if[words](changed):
                yield argument.name, words, changed
    if subject.callee.module is None:
        for position, (name, value) in subject.callee.inputs.options(subject.callee.original).items():
            for new in _other_options(value):
                other = _with_option(subject, position, new)
                if not (isinstance(new, float) and new == 0 and _is_never_zero(other)):
                    yield name, f"= {new!r}", other


def _with_option(subject, position, value):
    other = copy.copy(subject)
    other.callee = copy.copy(subject.callee)
    other.callee.inputs = subject.callee.inputs.with_option(position, value)
    return other


def _is_never_zero(subject):
    """Whether the forward makes infinities, as of a division by a constant that is never 0, and drops none of them."""
    try:
        with Overflows() as found:
            subject.call_no_grad()
    except Exception:  # it refuses, or dislikes a dispatch mode
        return True
    return found.seen and not found.dropped


def _is_deprecated(subject):
    """Whether torch warns of a mask of bytes, as torch.where and an index do: nobody promises anything for it."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            subject.call_no_grad()
    except Exception:  # it refuses
        return True
    finally:
        torch.set_warn_always(before)
    return any("uint8" in str(warning.message) for warning in seen)


def _other_values(subject, index, source):
    """(words, tensor) of one argument."""
    argument = subject.arguments[index]
    tensor = argument.tensor
    if tensor.dtype == torch.bool:
        return _other_masks(tensor, source)
    if tensor.is_complex():
        draw = torch.rand(tensor.shape, generator=source, dtype=torch.float64)
        sizes = torch.ones_like(draw) if _are_phases(tensor) else 0.5 + draw / 2
        return [("with other numbers", tensor * torch.polar(sizes, 6 * draw).to(tensor))]
    if not is_inexact(tensor):
        return _other_integers(subject, tensor, source)
    if argument.differentiable and (argument.kind != "input" or len(tensor.unique()) > 1 or tensor.numel() < 2):
        return ()
    low, high = subject.domain_of(argument)
    return [(words, other.clamp(low, high)) for words, other in _other_constants(tensor, source)]


def _are_phases(numbers):
    """Whether all have the absolute value 1, as the factors of a rotation, which a backward may divide by."""
    return bool(((numbers.abs() - 1).abs() < 1e-6).all())


def _other_masks(mask, source):
    yield "with half of it True", torch.rand(mask.shape, generator=source) < 0.5
    yield "inverted", ~mask
    yield "all True", torch.ones_like(mask)
    yield "all False", torch.zeros_like(mask)
    one = mask.clone()
    one.view(-1)[0] = ~one.view(-1)[0]
    yield "with its first entry inverted", one
    yield _AS_BYTES, mask.to(torch.uint8)


def _other_constants(tensor, source):
    """Other numbers of the same kind: labels stay labels, probabilities stay between 0 and 1, signs stay."""
    values = tensor.unique()
    if len(values) > 1 and bool((values == values.round()).all()):  # labels, or a mask of numbers
        yield "rolled", tensor.reshape(-1).roll(1).view(tensor.shape)
        for value in (float(values[0]), float(values[-1])):
            yield f"all {value:g}", torch.full_like(tensor, value)
        return
    draw = torch.rand(tensor.shape, generator=source, dtype=torch.float64).to(tensor)
    yield (
        "with other numbers",
        torch.where(tensor == 0, 0.4 * draw * (largest(tensor) or 1.0), tensor * (0.4 + draw / 2)),
    )
    if bool((tensor > 0).all()) and float(values.max()) > 0.5:
        yield "with greater numbers", tensor * (1 + 1.5 * draw)
    with_zero = tensor.clone(memory_format=torch.contiguous_format)
    with_zero.view(-1)[0] = 0
    yield _WITH_ZERO, with_zero


def _other_integers(subject, tensor, source):
    """The values that are there, in another order and repeated; the first and the last one; ignored ones."""
    numbers = tensor.reshape(-1)

    def shaped(values):
        return values.to(tensor.dtype).view(tensor.shape)

    yield "in the other integer type", tensor.to(torch.int32 if tensor.dtype == torch.int64 else torch.int64)
    if len(numbers) > 1:
        yield "shifted, with its first entry twice", shaped(torch.cat([numbers[:1], numbers[:-1]]))
        if not torch.equal(numbers, numbers.sort().values):  # else they may be offsets, which are sorted
            yield "in another order", shaped(numbers[torch.randperm(len(numbers), generator=source)])
    for value in (int(numbers.min()), int(numbers.max())):
        yield f"all {value}", torch.full_like(tensor, value)
    sizes = sorted({n for i in subject.differentiable for n in subject.point[i].shape if n > int(numbers.max())})
    options = subject.callee.inputs.options(subject.callee.original) if subject.callee.module is None else {}
    ignored = [v for n, v in options.values() if isinstance(v, int) and any(w in n for w in ("ignore", "pad"))]
    for value in dict.fromkeys([0, *(n - 1 for n in sizes[:1]), -1, *(ignored or [_IGNORED])]):
        first = numbers.clone()
        first[0] = value
        yield f"with {value} first", shaped(first)
        yield f"all {value}", torch.full_like(tensor, value)


def _other_options(value):
    """Other values of a number, a flag or a word."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        changed = [value * 2, value / 2, value + 0.3] if value else [0.3]
        return [*changed, 0.0] if abs(value) > _EPS else changed
    return [word for words in _WORDS if value in words for word in words if word != value]
