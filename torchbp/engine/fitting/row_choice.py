"""Which rows each member trains on, and on which its loss is watched: the arguments `rows`, `bagging`, `validation`."""

import torch

from torchbp.engine.fitting.fit_arguments import check_rows, row_dims_of
from torchbp.engine.fitting.rows import Rows

REST = "rest"


def chosen_rows(optimizer, x, y, rows, bagging, validation, generator):
    """`Rows` of the training, and those of the validation or None."""
    network, device, row_dims = optimizer.network, x.device, row_dims_of(optimizer.loss)
    chunk = None if optimizer.captured is not None else optimizer.chunk
    members, count = network.members, x.shape[-2]
    bag = mask = held_out = None
    if bagging and rows is not None:
        raise ValueError("bagging=True draws each member's rows, and rows gives them; leave one of them out")
    if rows is not None:
        mask = mask_of(rows, members, count).to(device)
    if bagging:
        bag = torch.randint(count, (members, count), generator=generator, device="cpu").to(device)
    if validation is not None:
        held_out = validation_rows(network, optimizer.loss, x, y, mask, bag, validation, chunk)
    return Rows(x, y, bag, chunk, mask, row_dims), held_out


def validation_rows(network, loss, x, y, mask, bag, validation, chunk):
    if isinstance(validation, str) and validation == REST:
        if bag is not None:
            mask = torch.zeros(bag.shape, dtype=torch.bool, device=bag.device).scatter_(1, bag, True)
        if mask is None:
            raise ValueError('validation="rest" is what rows or bagging leave out; give one of them, or (x, y)')
        if (number := first_true(mask.all(-1))) is not None:
            raise ValueError(f'validation="rest": {name_of("the rows", number)} are all rows, and none is left')
        return Rows(x, y, None, chunk, ~mask, row_dims_of(loss))
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise TypeError(f'validation={validation!r:.80} must be (x, y), or "rest"')
    check_rows(network, loss, *validation, ("x of validation", "y of validation"), network.members)
    return Rows(*validation, None, chunk, None, row_dims_of(loss))


def mask_of(rows, members, count):
    """A bool for each row, (N), or (E, N) for each member, from bools or from places.

    Raises:
        ValueError: another shape, a place that is none or occurs twice, or a member without rows.
    """
    shape = (count,) if members is None else (members, count)
    wanted = "places of rows" if members is None else f"a list of the places of the rows of each of {members} members"
    if hasattr(rows, "dtype") and not isinstance(rows, torch.Tensor):
        rows = torch.as_tensor(rows)
    if isinstance(rows, torch.Tensor) and rows.dtype is torch.bool:
        if rows.shape != shape:
            raise ValueError(f"rows has the shape {tuple(rows.shape)}; give bools {shape}, or {wanted}")
        mask = rows.cpu()
    else:
        of_members = [rows] if members is None else list(rows)
        if len(of_members) != (members or 1):
            raise ValueError(f"rows has {len(of_members)} parts; give {wanted}, or bools {shape}")
        mask = torch.stack(
            [mask_of_places(places, count, None if members is None else i) for i, places in enumerate(of_members)]
        )
        mask = mask[0] if members is None else mask
    if (number := first_true(~mask.any(-1))) is not None:
        raise ValueError(f"{name_of('rows', number)} is empty; give one row at least")
    return mask


def mask_of_places(places, count, number):
    name, places = name_of("rows", number), torch.as_tensor(places, device="cpu")
    if places.dim() != 1 or places.is_floating_point() or places.dtype is torch.bool:
        raise ValueError(f"{name} is {places.dtype} of the shape {tuple(places.shape)}; give places (n), as int64")
    if places.numel() and not 0 <= places.min() <= places.max() < count:
        wrong = places[(places < 0) | (places >= count)][0].item()
        raise ValueError(f"{name} has the place {wrong}; x has the rows 0 to {count - 1}")
    times = torch.bincount(places, minlength=count)
    if times.numel() and times.max() > 1:
        raise ValueError(f"{name} has the place {times.argmax().item()} twice; give each once, or use bagging")
    return times > 0


def first_true(bools):
    """The index of the first one, () for a single one; None where there is none."""
    found = bools.nonzero()
    return tuple(found[0].tolist()) if len(found) else None


def name_of(name, index):
    return name if index in (None, ()) else f"{name}[{index[0] if isinstance(index, tuple) else index}]"
