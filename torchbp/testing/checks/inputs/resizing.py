"""Points with other sizes than the one that is audited."""

from typing import NamedTuple

import torch

from torchbp.testing.numerics.tensors import is_inexact, symmetric

_FEW_SIZES = 3  # different sizes in a row that are varied


SWEPT = tuple(size + more for size in (16, 32, 64, 128, 256, 512, 1024) for more in (-1, 0, 1))  # where kernels branch
_MOST_NUMBERS = 2**17  # of all arguments
_MOST_FAMILIES = 8
_WIDE = 257


class Resizing(NamedTuple):
    words: str
    point: list  # of tensors
    promised: bool = True  # not where one of several arguments changes, which may be taken by the luck of a broadcast


def resizings(subject):
    """Another number of rows, in all inputs that have as many as the first, and in one alone; longer rows.

    Rows are only made longer: in a shorter one, an index that the function holds itself may be out of bounds, which
    some operations of torch do not look at.
    """
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input" and argument.resizable]
    shapes = {i: subject.point[i].shape for i in inputs}
    rows = next((shape[0] for shape in shapes.values() if shape), 0)
    with_rows = [i for i, shape in shapes.items() if shape[:1] == (rows,)] if rows else []
    for new in (1, rows + 1, 0):
        if with_rows and new != rows:
            dims = {i: [0] for i in with_rows}
            yield Resizing(f"{new} instead of {rows} rows", _resized_point(subject, dims, new))
    index_sizes = {shapes[i][0] for i in inputs if shapes[i] and not is_inexact(subject.point[i])}
    # nothing may be selected; of an index and its offsets, neither may be empty alone
    for size in index_sizes - {0, rows} if len(index_sizes) == 1 else ():
        together = [i for i, shape in shapes.items() if shape[:1] == (size,)]
        name = next(subject.arguments[i].name for i in together if not is_inexact(subject.point[i]))
        yield Resizing(f"{name} empty", _resized_point(subject, {i: [0] for i in together}, 0))
    for i in with_rows if len(shapes) > 1 and rows > 1 and not _has_labels(subject, with_rows) else ():
        for new in (1, rows + 1):
            words = f"{new} instead of {rows} rows of {subject.arguments[i].name} alone"
            yield Resizing(words, _resized_point(subject, {i: [0]}, new), promised=False)
    sizes = dict.fromkeys(size for shape in shapes.values() for size in shape[1:] if size > 1)
    for size in list(sizes)[:_FEW_SIZES]:
        dims = {i: [d for d, s in enumerate(shape) if s == size and (d or s != rows)] for i, shape in shapes.items()}
        if any(dims[i] and symmetric(subject.point[i]) for i in dims):  # the resized matrix would not be symmetric
            continue
        yield Resizing(f"{size + 1} instead of {size} in a row", _resized_point(subject, dims, size + 1))


def other_dimensions(subject):
    """The inputs with one dimension more at the end, with six, with one row alone, or with a single number.

    A picture has a dimension more than a row, and a backward may take the last one for all after the channels.
    """
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input" and argument.resizable]
    differentiable = [i for i in inputs if subject.arguments[i].differentiable]
    with_dimensions = [] if _has_labels(subject, inputs) else differentiable
    for i in [i for i in with_dimensions if subject.point[i].dim() > 1][:1]:
        tensor = subject.point[i]
        longer = torch.stack([tensor, tensor.flip(0).roll(1, -1) * 0.9], -1)
        words = f"a dimension more at the end of {subject.arguments[i].name}"
        point = [longer if j == i else t for j, t in enumerate(subject.point)]
        yield Resizing(words, subject.clamp_to_domain(point), promised=False)
    rows = next((subject.point[i].shape[0] for i in inputs if subject.point[i].dim()), 0)
    alike = [i for i in inputs if subject.point[i].shape[:1] == (rows,)]
    if not rows or not differentiable:
        return
    changes = {"six dimensions": _in_six_dimensions, "one row, without a dimension of rows": lambda t: t[0]}
    if all(subject.point[i].shape == subject.point[alike[0]].shape for i in inputs):
        changes["a single number"] = lambda t: t.reshape(-1)[0]
    for words, change in changes.items():
        point = [change(t).clone() if i in alike else t for i, t in enumerate(subject.point)]
        yield Resizing(words, subject.clamp_to_domain(point), promised=False)


def _has_labels(subject, indices):
    """Whether some of the arguments are integers: labels belong to the rows of others, which do not change alone."""
    return any(not is_inexact(subject.point[i]) for i in indices)


def _in_six_dimensions(tensor):
    twice = torch.stack([tensor, tensor * 0.9 if is_inexact(tensor) else tensor])
    return twice.view(*[1] * (6 - twice.dim()), *twice.shape)


def sweeps(subject):
    """Iterators of resizings from 15 to 1025: of all dimensions that have one size together, and of each alone."""
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input" and argument.resizable]
    together = {}
    for i in inputs:
        for dim, size in enumerate(subject.point[i].shape):
            together.setdefault(size, {}).setdefault(i, []).append(dim)
    families = [(dims, size, "") for size, dims in together.items() if size]
    for dims, size, _ in list(families):
        if len(dims) > 1:
            alone = {i: along for i, along in dims.items() if is_inexact(subject.point[i])}
            families += [({i: along}, size, f" of {subject.arguments[i].name} alone") for i, along in alone.items()]
    for dims, size, where in families[:_MOST_FAMILIES]:
        if not any(symmetric(subject.point[i]) for i in dims):  # the resized matrix would not be symmetric
            yield _family(subject, dims, size, where)


def _family(subject, dims, size, where):
    """At each size behind a power of 2 with one row more too, where that is another dimension."""
    more_rows = None if any(0 in along for along in dims.values()) else _one_row_more(subject)
    for new in SWEPT:
        numbers = [t.numel() * (new / size) ** len(dims.get(i, ())) for i, t in enumerate(subject.point)]
        if new > size and sum(numbers) <= _MOST_NUMBERS:
            words = f"sizes of {new} instead of {size}{where}"
            yield Resizing(words, _resized_point(subject, dims, new), promised=not where)
            if more_rows and new % 16 == 1 and 2 * sum(numbers) <= _MOST_NUMBERS:
                point = _resized_point(subject.at(more_rows), dims, new)
                yield Resizing(f"{words}, and a row more", point, promised=not where)


def wide_points(subject):
    """Points with rows of 257 numbers: all last dimensions of one size together."""
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input" and argument.resizable]
    for size in dict.fromkeys(subject.point[i].shape[-1] for i in inputs if subject.point[i].dim() > 1):
        alike = {i: [subject.point[i].dim() - 1] for i in inputs if subject.point[i].shape[-1:] == (size,)}
        numbers = sum(t.numel() * (_WIDE / size if i in alike else 1) for i, t in enumerate(subject.point) if size)
        if 0 < size < _WIDE and numbers <= _MOST_NUMBERS and not any(symmetric(subject.point[i]) for i in alike):
            yield _resized_point(subject, alike, _WIDE)


def _one_row_more(subject):
    rows = next((t.shape[0] for t in subject.point if t.dim()), 0)
    return with_rows(subject, rows + 1, _MOST_NUMBERS)


def _resized_point(subject, dims, new):
    """The point with `new` entries along these dimensions: the same numbers again, so that they stay in the domain."""
    changed = list(subject.point)
    for i, along in dims.items():
        for dim in along:
            changed[i] = _resized(changed[i], dim, new)
    return subject.clamp_to_domain(changed)


def _resized(tensor, dim, new):
    size = tensor.shape[dim]
    longer = tensor.index_select(dim, torch.arange(new, device=tensor.device) % size)
    if new <= size or not is_inexact(tensor):
        return longer
    # No two are alike: the one that is added has its numbers in another order, or smaller where the order matters.
    factors = 1 - 1e-2 * torch.linspace(0, 1, new, device=tensor.device)
    longer = longer * factors.view([-1 if d == dim else 1 for d in range(tensor.dim())])
    if not symmetric(tensor) or tensor.dim() - dim < 3:
        longer.select(dim, size).copy_(longer.select(dim, size).reshape(-1).roll(1).view_as(longer.select(dim, size)))
    return longer


def with_rows(subject, rows, most):
    """The point with so many rows in all inputs that have as many as the first; None if they were too many numbers."""
    inputs = [i for i, argument in enumerate(subject.arguments) if argument.kind == "input" and argument.resizable]
    given = next((subject.point[i].shape[0] for i in inputs if subject.point[i].dim()), 0)
    dims = {i: [0] for i in inputs if subject.point[i].shape[:1] == (given,)}
    if not given or any(symmetric(subject.point[i]) for i in dims):
        return None
    if rows * sum(subject.point[i].numel() // given for i in dims) > most:
        return None
    return _resized_point(subject, dims, rows)


def batch_changes(size):
    """(words, change): for each leading dimension, no row, one, and one more, as a function of a tensor."""
    for dim, rows in enumerate(size):
        where = f" along dimension {dim}" if len(size) > 1 else ""
        again = [k % rows for k in range(rows + 1)] if rows else []
        for words, indices in (("no rows", []), ("one row", [0][:rows]), ("a row more", again)):
            yield f"a batch of {words}{where}", _selection(indices, dim)


def _selection(indices, dim):
    return lambda t: t.index_select(dim, torch.tensor(indices, dtype=torch.long, device=t.device))
