"""Guesses from where a gradient is wrong: at one index, on one side of zero, in one branch."""

import math

from torchbp.testing.subject.naming import entry, six_digits


def _where(e, columns):
    """' where x < 0', if the wrong columns are exactly those; or ' only where x is greater than …'; else None."""
    value = e.values.get(e.argument)
    if value is None or e.complex or bool(columns.all()) or not bool(columns.any()):
        return None
    for sign, mask in (("<", value < 0), (">", value > 0), ("=", value == 0)):
        if bool((columns == mask).all()):
            return f" where {e.argument} {sign} 0"
    inside, outside = value[columns], value[~columns]
    if math.comb(len(value), len(inside)) < 100:  # so few numbers may be on one side by chance
        return None
    if inside.min() > outside.max():
        return f" only where {e.argument} is greater than about {six_digits(float(outside.max()))}"
    if inside.max() < outside.min():
        return f" only where {e.argument} is less than about {six_digits(float(outside.min()))}"
    return None


def one_index(e):
    """All wrong entries share an index of the argument, or of the output."""
    wrong = ~e.close
    for mask, name, shape in (
        (wrong.any(dim=0), e.argument, e.argument_shape),
        (wrong.any(dim=1), "out", e.output_shape),
    ):
        if e.complex or not shape or bool(mask.all()) or not bool(mask.any()) or mask.numel() < 3:
            continue
        if mask.numel() != math.prod(shape):
            continue
        places = mask.view(shape).nonzero()
        if len(places) == 1:
            k = int(mask.nonzero()[0])
            at = f" = {six_digits(float(e.values[name][k]))}" if name in e.values else ""
            return f"only {entry(name, k, shape)}{at} is wrong: its value or its index is treated differently"
        for dim, size in enumerate(shape):
            if size > 1 and len(set(places[:, dim].tolist())) == 1:
                index = ", ".join(str(int(places[0, dim])) if d == dim else ":" for d in range(len(shape)))
                return f"only {name}[{index}] is wrong: an index or an edge that is treated differently"
    return None


def partly_zero(e):
    wrong = ~e.close
    if bool(e.analytical[wrong].any()):
        return None
    return f"zero{_where(e, wrong.any(dim=0)) or ' in the entries that are wrong'}: a term of the derivative is missing"


def one_branch(e):
    where = _where(e, (~e.close).any(dim=0))
    return f"wrong{where}: a branch of the derivative" if where else None
