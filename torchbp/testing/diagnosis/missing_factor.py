"""Guess that a factor of the derivative is missing or should not be there, such as y(1 − y) of a sigmoid."""

from itertools import product

FACTORS = {
    "{0}": lambda t: t,
    "1 − {0}": lambda t: 1 - t,
    "{0}(1 − {0})": lambda t: t * (1 - t),
    "1 − {0}²": lambda t: 1 - t**2,
    "1 + {0}": lambda t: 1 + t,
    "1 + {0}²": lambda t: 1 + t**2,
    "{0}²": lambda t: t**2,
    "{0}³": lambda t: t**3,
    "1 − 2{0}": lambda t: 1 - 2 * t,
    "√{0}": lambda t: t.sqrt(),
    "exp({0})": lambda t: t.exp(),
    "log({0})": lambda t: t.log(),
    "cos({0})": lambda t: t.cos(),
    "sin({0})": lambda t: t.sin(),
    "sign({0})": lambda t: t.sign(),
    "|{0}|": lambda t: t.abs(),
    "σ({0})": lambda t: t.sigmoid(),
    "tanh({0})": lambda t: t.tanh(),
    "[{0} > 0]": lambda t: (t > 0).to(t.dtype),
}
CONSTANTS = (1, 2, 0.5, 3, 1 / 3)


def missing_factor(e):
    """A / N is a function of one known number at each entry: of the argument, of the output, or of another argument."""
    if e.complex or not e.numerical.numel():
        return None
    tables = [(name, table) for name, values in e.values.items() for table in broadcast(e, values)]
    may_be, place, a, n = _at_one_entry(e)
    for (name, table), (text, function) in product(tables, FACTORS.items()):
        factor = function(table)
        if not is_usable(factor):
            continue
        words, at = text.format(name), factor[place].item()
        for constant, sign in product(CONSTANTS, (1, -1)):
            note = "" if constant == 1 else f" (times {constant:.3g})"
            note += ", and the sign is wrong" if sign < 0 else ""
            times = sign * constant
            if may_be(a * at * times, n) and e.same(e.analytical * factor * times, e.numerical):
                return f"the factor {words} is missing{note}"
            if may_be(a, n * at * times) and e.same(e.analytical, e.numerical * factor * times):
                return f"the factor {words} should not be there{note}"
    return _wrong_factor(e, tables)


def _wrong_factor(e, tables):
    """One factor stands where another belongs: A f(t) = N g(u)."""
    few = list(enumerate(FACTORS.items()))[:8]
    tables = sorted(tables[:8], key=lambda row: row[0] == "out")  # arguments first
    choices = [(rank, text.format(name), function(table)) for rank, (text, function) in few for name, table in tables]
    may_be, place, a, n = _at_one_entry(e)
    choices = [(*choice, choice[2][place].item()) for choice in choices if is_usable(choice[2])]
    pairs = [(f, g) for f, g in product(choices, choices) if f[1] != g[1] and may_be(a * f[3], n * g[3])]
    for (_, right, factor, _), (_, used, other, _) in sorted(pairs, key=lambda pair: pair[0][0] + pair[1][0]):
        if e.same(e.analytical * factor, e.numerical * other) and bool((e.numerical * other).any()):
            return f"the factor is {used} where {right} belongs"  # the simplest guess
    return None


def _at_one_entry(e):
    """The largest entry, at which almost all guesses can be ruled out: whether two numbers there may be those of equal
    matrices, its place, and the two numbers of the gradient."""
    place = divmod(int(e.numerical.abs().reshape(-1).argmax()), e.numerical.shape[1])
    a, n, slack = (matrix[place].item() for matrix in (e.analytical, e.numerical, e.slack))
    return lambda a, b: abs(a - b) <= 2 * (10 * slack + 1e-6 * abs(b)), place, a, n


def is_usable(factor):
    """Whether it is finite, somewhere not 0, and not the same everywhere: that would be a constant ratio."""
    if not bool(factor.isfinite().all()) or not factor.numel():
        return False
    return float((factor - factor.reshape(-1)[0]).abs().max()) > 1e-6 and float(factor.abs().max()) > 1e-9


def broadcast(e, values):
    """The values as matrices like the Jacobian: one for each column, for each row, or along one dimension of either."""
    rows, columns = e.numerical.shape
    tables = []
    if len(values) == columns:
        tables.append(values.view(1, -1).expand(rows, columns))
    if len(values) == rows:
        tables.append(values.view(-1, 1).expand(rows, columns))
    for shape, by_column in ((e.argument_shape, True), (e.output_shape, False)):
        total = columns if by_column else rows
        for dim, size in enumerate(shape):
            if len(values) == size != total:
                spread = values.view([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape).reshape(-1)
                if len(spread) == total:
                    spread = spread.view(1, -1) if by_column else spread.view(-1, 1)
                    tables.append(spread.expand(rows, columns))
    return tables
