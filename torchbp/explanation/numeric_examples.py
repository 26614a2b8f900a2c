"""Equations with the numbers filled in, of one element: the largest one. Its place is [row, unit], both from 1.

What a line says is true as it is printed: where numbers almost cancel, they have more digits.
"""

import math

import torch

from torchbp.explanation.equations import d
from torchbp.ops.rules import rule_of

TERMS = 3  # of a sum that are written out
CANCELS = 8  # times: terms so much larger than what is left of them have more digits
ALL = 1e13  # times: 17 digits, which are all there are
HELD, LEAST = 1e-12, -100  # the least of A (1 − A), and of a logarithm, in torch's loss of probabilities


def number(value, digits=4):
    """Four digits, with the sign − of the equations."""
    return f"{float(value) + 0.0:.{digits}g}".replace("-", "−")  # + 0.0: there is no −0


def digits(size, left):
    """How many digits numbers of this size need, so that what is left of them is true to 1%."""
    size, left = abs(float(size)), abs(float(left))
    if size == 0 or not math.isfinite(size) or not math.isfinite(left):
        return 4
    times = min(size / left / CANCELS, ALL) if left else ALL
    return 4 + math.ceil(math.log10(max(times, 1)))


def inside(value, digits=4):
    """The same within a product: (−0.5)."""
    text = number(value, digits)
    return f"({text})" if text.startswith("−") else text


def largest(tensor):
    """The place of the largest element by magnitude."""
    at, place = int(tensor.abs().reshape(-1).argmax()), []
    for size in reversed(tensor.shape):
        at, index = divmod(at, size)
        place.append(index)
    return tuple(reversed(place))


def named(name, place):
    return f"{name}[{','.join(str(index + 1) for index in place)}]"


def equal(left, text, value):
    """left = text = value; a value once."""
    return f"{left} = {text}" if text == number(value) else f"{left} = {text} = {number(value)}"


def total(factors, result, more=()):
    """Σ a b, and numbers `more`, with the largest products written out; the others are one number in brackets."""
    products = [a * b for a, b in factors]
    many = digits(sum(map(abs, products)) + sum(map(abs, more)), result)
    shown = order(products, TERMS)
    texts = [f"{inside(factors[i][0], many)}·{inside(factors[i][1], many)}" for i in shown]
    return added([*texts, *rest(products, shown, many), *(inside(n, many) for n in more)])


def sums(numbers, result):
    """The same of numbers."""
    many, shown = digits(sum(map(abs, numbers)), result), order(numbers, TERMS + 1)
    texts = [inside(numbers[i], many) if i else number(numbers[i], many) for i in shown]
    return added([*texts, *rest(numbers, shown, many)])


def order(numbers, terms):
    """The places of the largest, in order; all of them, if one would be left."""
    if len(numbers) <= terms + 1:
        return list(range(len(numbers)))
    return sorted(sorted(range(len(numbers)), key=lambda i: -abs(numbers[i]))[:terms])


def rest(numbers, shown, digits):
    others = [n for i, n in enumerate(numbers) if i not in shown]
    return [f"[{len(others)} more: {number(sum(others), digits)}]"] if others else []


def added(texts):
    return " + ".join(texts)


def pairs(a, b):
    return list(zip(a.tolist(), b.tolist(), strict=True))


def layer(step, values, prime):
    name, takes = step.gives + prime, step.takes if step.takes == "X" else step.takes + prime
    if step.kind != "linear":
        return activation(step.kind, name, takes, values)
    z = values[name]
    row, unit = place = largest(z)
    bias = [values[step.bias + prime][unit].item()] if step.bias + prime in values else []
    text = total(pairs(values[takes][row], values[step.weight + prime][unit]), z[place], bias)
    return f"{named(name, place)} = {text} = {number(z[place])}"


def activation(kind, name, takes, values):
    a = values[name]
    place = largest(a)
    f = {"sigmoid": "σ({})", "tanh": "tanh({})", "relu": "max({}, 0)"}[kind].format(exponent(values[takes][place]))
    return f"{named(name, place)} = {f} = {number(a[place])}"


def exponent(value):
    """In four digits, or two after the point: e^−412.3 is 5% off from e^−412.35."""
    size = abs(float(value))
    return number(value, 4 + max(0, math.floor(math.log10(size)) - 1) if 1 < size < ALL else 4)


def plain(of):
    """Whether the loss is without weights, so that its numbers fit in a line."""
    return of.weight is None and of.pos_weight is None


def over(of, count):
    return f"/{count}" if of.mean and count > 1 else ""


def apart(a, *others):
    """How many digits tell a number, the answer, from each other one that it is subtracted from."""
    return max(digits(max(abs(a), abs(other)), a - other) for other in others)


def held(of, prime=""):
    """Where A (1 − A), by which dL/dA is divided, is so small that torch takes 1e−12 in its place."""
    a = of.values[of.answer + prime]
    return a * (1 - a) < HELD


def from_logits(of, prime=""):
    """Where the loss of logits is not that of A as it is rounded, since A is almost 0 or 1."""
    a, y = of.values[of.answer + prime], of.values["y"]
    eps = torch.finfo(a.dtype).eps
    return (a == 0) | (1 - a < 1e3 * eps) | (a < 1e4 * eps) & (y < 1)


def clamped(of, prime=""):
    """Where a logarithm in the loss of probabilities is below −100, torch's least."""
    a, y = of.values[of.answer + prime], of.values["y"]
    return (y > 0) & (a.log() < LEAST) | (y < 1) & (torch.log1p(-a) < LEAST)


def loss(of, output, prime):
    y = of.values["y"]
    value, each = (
        rule_of(of.loss).value(output, y, how, **rule_of(of.loss).options_of(of.loss))
        for how in (of.loss.reduction, "none")
    )
    if len(each := each.reshape(-1).tolist()) == 1 and plain(of) and of.kind != "squared" and y.item() in (0, 1):
        if of.logits and from_logits(of, prime).any():
            return f"L{prime} = {from_logit(output.item(), y.item(), value.item())}"
        return f"L{prime} = {entropy(of, prime, y.item())} = {number(value)}"
    shown = order(each, 6)
    text = added([*(number(each[i]) for i in shown), *rest(each, shown, 4)])
    if of.mean and len(each) > 1:
        text = f"({text})/{len(each)}"
    return equal(f"L{prime}", text, value)


def from_logit(z, y, value):
    """(1 − y) Z + ln(1 + e^−Z), and what torch's rounding makes of it."""
    true = max(z, 0) - y * z + math.log1p(math.exp(-abs(z)))
    text = f"{'' if y else f'{exponent(z)} + '}ln(1 + e^{exponent(-z)}) = {number(true)}"
    if abs(value - true) <= 5e-3 * true:
        return text
    return f"{text}, which is {number(value)} where it is rounded beside {exponent(abs(z))}"


def entropy(of, prime, y):
    """−ln A or −ln(1 − A), as torch computes it."""
    a = of.values[of.answer + prime].item()
    text = number(a, apart(a, 1))
    logarithm = f"ln({text})" if y else f"ln(1 − {text})"
    return f"−max({logarithm}, −100)" if not of.logits and clamped(of, prime).any() else f"−{logarithm}"


def answer_slope(of, da):
    if not plain(of):
        return ""
    place, count = largest(da), over(of, da.numel())
    a, y = (of.values[name][place].item() for name in (of.answer, "y"))
    if of.kind == "squared":
        text = f"2·({minus(a, y)}){count}"
    elif held(of)[place]:
        text = f"({minus(a, y)})/1e−12{count}"
    else:
        many = apart(a, y, 1)
        text = f"({minus(a, y, many)})/({number(a, many)}·(1 − {number(a, many)})){count}"
    return f"{named(d(of.answer), place)} = {text} = {number(da[place])}"


def minus(a, y, many=4):
    many = max(many, apart(a, y))
    return f"{number(a, many)} − {inside(y, many)}"


def error(of, dz):
    if not plain(of):
        return ""
    place = largest(dz)
    text = minus(*(of.values[name][place].item() for name in (of.answer, "y")))
    if count := over(of, dz.numel()):
        text = f"({text}){count}"
    return f"{named(d(of.chain.output), place)} = {text} = {number(dz[place])}"


def slope(step, values, da, dz):
    place = largest(dz)
    a = values[step.gives][place].item()
    text = inside(a, apart(a, 1, -1))
    if step.kind == "sigmoid":
        factor = f"{text}·(1 − {text})"
    elif step.kind == "tanh":
        factor = f"(1 − {f'({text})' if 'e' in text else text}²)"
    else:
        factor = "1" if a > 0 else "0"
    return f"{named(d(step.takes), place)} = {inside(da[place])}·{factor} = {number(dz[place])}"


def parameter(step, name, values, dz, gradient):
    place = largest(gradient)
    if name == step.weight:
        text = total(pairs(dz[:, place[0]], values[step.takes][:, place[1]]), gradient[place])
    else:
        text = sums(dz[:, place[0]].tolist(), gradient[place])
    return equal(named(d(name), place), text, gradient[place])


def blame(step, values, gradient):
    row, unit = place = largest(gradient)
    text = total(pairs(values[d(step.gives)][row], values[step.weight][:, unit]), gradient[place])
    return f"{named(d(step.takes), place)} = {text} = {number(gradient[place])}"


def update(name, values, new, lr):
    place = largest(values[d(name)])
    old, slope = values[name][place].item(), values[d(name)][place].item()
    many = digits(abs(old) + lr * abs(slope), new[place])
    text = f"{number(old, many)} − {number(lr, many)}·{inside(slope, many)}"
    return f"{named(name + '′', place)} = {text} = {number(new[place])}"
