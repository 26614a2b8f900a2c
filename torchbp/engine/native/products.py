"""Matrix products in C: C = A B of matrices whose sizes and strides are known, in tiles that stay in registers."""

import torch

SIZE = {torch.float32: 4, torch.float64: 8}
REGISTERS = {64: 24, 32: 12, 16: 12}  # of so many bytes, that the sums of a tile may take


class Matrix:
    """A matrix in memory: the C expression of its first number, and its strides."""

    def __init__(self, text, strides, uniform=True):
        self.text, self.strides, self.uniform = text, strides, uniform

    def at(self, i, j):
        terms = [f"{k} * {s}" for k, s in zip((i, j), self.strides, strict=True) if s and k != "0"]
        return " + ".join(terms) or "0"


def product(a, b, c, sizes, dtype, vector_bytes):
    """Statements for C (M, N) = A (M, K) B (K, N).

    B and C must have rows without gaps, or be of one column and, with A, have products of rows without gaps.
    """
    m, n, k = sizes
    ctype = "float" if dtype is torch.float32 else "double"
    widest = vector_bytes // SIZE[dtype]
    if n == 1 or b.strides[1] != 1:
        return dots(a, b, c, sizes, ctype, largest_power(k, widest))
    lanes = largest_power(n, widest)
    starts = list(range(0, n - lanes + 1, lanes))
    if starts[-1] + lanes < n:
        starts.append(n - lanes)  # which computes some columns again
    registers = REGISTERS[vector_bytes]
    wide = min(4, len(starts))
    high = max(1, min(m, registers // wide))
    if m % high and m > high:  # tiles as equal as can be
        high = -(-m // -(-m // high))
    lines = []
    whole = len(starts) - len(starts) % wide
    groups = [starts[i : i + wide] for i in range(0, whole, wide)] + ([starts[whole:]] if starts[whole:] else [])
    regular = [group for group in groups if group == [group[0] + lanes * i for i in range(wide)]]
    if len(regular) > 2 and [g[0] for g in regular] == [i * wide * lanes for i in range(len(regular))]:
        lines += [f"for (long n = 0; n < {len(regular) * wide * lanes}; n += {wide * lanes}) {{"]
        lines += rows(a, b, c, m, k, high, [f"(n + {lanes * i})" for i in range(wide)], ctype, lanes)
        lines += ["}"]
        groups = [group for group in groups if group not in regular]
    for group in groups:
        lines += rows(a, b, c, m, k, high, [str(start) for start in group], ctype, lanes)
    return lines


def rows(a, b, c, m, k, high, columns, ctype, lanes):
    """All rows of some columns of C, `high` of them at once."""
    lines, whole = [], m - m % high
    if whole > high:
        lines += [f"for (long m = 0; m < {whole}; m += {high})", *tile(a, b, c, k, "m", high, columns, ctype, lanes)]
    elif whole:
        lines += tile(a, b, c, k, "0", high, columns, ctype, lanes)
    if m % high:
        lines += tile(a, b, c, k, str(whole), m % high, columns, ctype, lanes)
    return lines


def tile(a, b, c, k, first, high, columns, ctype, lanes):
    vector = f"{ctype}{lanes}"
    split = 4 if high * len(columns) <= 2 and k >= 8 else 1  # sums that do not wait for one another
    sums = [[[f"s{i}_{j}_{p}" for j in range(len(columns))] for i in range(high)] for p in range(split)]
    names = [name for part in sums for row in part for name in row]
    lines = ["{", f"{vector} {', '.join(f'{name} = {{0}}' for name in names)};"]

    def body(p, step):
        for j, column in enumerate(columns):
            yield f"{vector} b{j} = LOAD({vector}, {b.text} + {b.at(step, column)});"
        for i in range(high):
            yield f"{ctype} a{i} = ({a.text})[{a.at(row(first, i), step)}];"
            for j in range(len(columns)):
                yield f"{sums[p][i][j]} += a{i} * b{j};"

    lines.append(f"for (long k = 0; k < {k - k % split}; k += {split}) {{")
    for p in range(split):
        lines += ["{", *body(p, f"(k + {p})" if p else "k"), "}"]
    lines.append("}")
    for rest in range(k % split):
        lines += ["{", *body(rest, str(k - k % split + rest)), "}"]
    for i in range(high):
        for j, column in enumerate(columns):
            total = " + ".join(part[i][j] for part in sums)
            lines.append(f"STORE({vector}, {c.text} + {c.at(row(first, i), column)}, {total});")
    return [*lines, "}"]


def row(first, i):
    return f"({first} + {i})" if first != "0" and i else str(i) if first == "0" else first


def dots(a, b, c, sizes, ctype, lanes):
    """Each number of C as the product of a row of A and a column of B, both without gaps where lanes > 1."""
    m, n, k = sizes
    if a.strides[1] != 1 or b.strides[0] != 1:
        lanes = 1
    vector = f"{ctype}{lanes}"
    whole = k - k % lanes
    row_of_a, column_of_b = f"({a.text} + {a.at('m', '0')})", f"({b.text} + {b.at('0', 'n')})"
    lines = [f"for (long m = 0; m < {m}; m++) for (long n = 0; n < {n}; n++) {{"]
    if lanes > 1:
        lines += [f"{vector} sums = {{0}};", f"for (long k = 0; k < {whole}; k += {lanes})"]
        lines += [f"  sums += LOAD({vector}, {row_of_a} + k) * LOAD({vector}, {column_of_b} + k);"]
        lines += [f"{ctype} sum = sum_{vector}(sums);"]
    else:
        lines += [f"{ctype} sum = 0;"]
    if whole < k or lanes == 1:
        lines += [f"for (long k = {0 if lanes == 1 else whole}; k < {k}; k++)"]
        lines += [f"  sum += {row_of_a}[k * {a.strides[1]}] * {column_of_b}[k * {b.strides[0]}];"]
    return [*lines, f"({c.text})[{c.at('m', 'n')}] = sum;", "}"]


def largest_power(n, limit):
    power = 1
    while power * 2 <= min(n, limit):
        power *= 2
    return power


def product_in_lanes(a, b, c, sizes, ctype, lanes):
    """The same of as many products as there are lanes; a matrix that is uniform is the same in each."""
    m, n, k = sizes
    vector = f"{ctype}{lanes}"
    high, wide = min(m, 4), min(n, 4)

    def load(matrix, i, j):
        if matrix.uniform:
            return f"({matrix.text})[{matrix.at(i, j)}]"
        return f"LOAD({vector}, {matrix.text} + ({matrix.at(i, j)}) * {lanes})"

    def block(first_m, first_n, high, wide):
        sums = [[f"s{i}_{j}" for j in range(wide)] for i in range(high)]
        lines = ["{", f"{vector} {', '.join(f'{s} = {{0}}' for of_row in sums for s in of_row)};"]
        lines.append(f"for (long k = 0; k < {k}; k++) {{")
        of_a, of_b = (ctype if matrix.uniform else vector for matrix in (a, b))
        for i in range(high):
            lines.append(f"{of_a} a{i} = {load(a, row(first_m, i), 'k')};")
        for j in range(wide):
            lines.append(f"{of_b} b{j} = {load(b, 'k', row(first_n, j))};")
            lines += [f"s{i}_{j} += a{i} * b{j};" for i in range(high)]
        lines.append("}")
        for i in range(high):
            for j in range(wide):
                offset = c.at(row(first_m, i), row(first_n, j))
                lines.append(f"STORE({vector}, {c.text} + ({offset}) * {lanes}, s{i}_{j});")
        return [*lines, "}"]

    lines = []
    for first_m, count_m, of_m in pieces("m", m, high):
        for first_n, count_n, of_n in pieces("n", n, wide):
            lines += [*of_m, *of_n, *block(first_m, first_n, count_m, count_n)]
    return lines


def pieces(name, extent, size):
    """(first, how many at once, the loop over them) that cover an extent."""
    whole = extent - extent % size
    if whole > size:
        yield name, size, [f"for (long {name} = 0; {name} < {whole}; {name} += {size})"]
    elif whole:
        yield "0", size, []
    if extent % size:
        yield str(whole), extent % size, []
