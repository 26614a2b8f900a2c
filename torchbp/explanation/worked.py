"""Equations with the numbers filled in, of one element: the largest one. Its place is [row, unit], both from 1."""

from torchbp.engine.losses import LOSSES
from torchbp.explanation.equations import d

TERMS = 3  # of a sum that are written out


def number(value):
    """Four digits, with the sign − of the equations."""
    return f"{float(value) + 0.0:.4g}".replace("-", "−")  # + 0.0: there is no −0


def inside(value):
    """The same within a product: (−0.5)."""
    text = number(value)
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


def total(factors, terms=TERMS):
    """Σ a b with its largest products written out; the others are one number in brackets."""
    if len(factors) <= terms + 1:
        return " + ".join(f"{inside(a)}·{inside(b)}" for a, b in factors)
    order = sorted(range(len(factors)), key=lambda i: -abs(factors[i][0] * factors[i][1]))
    shown, rest = order[:terms], order[terms:]
    others = sum(factors[i][0] * factors[i][1] for i in rest)
    return " + ".join(
        [
            *(f"{inside(factors[i][0])}·{inside(factors[i][1])}" for i in sorted(shown)),
            f"[{len(rest)} more: {number(others)}]",
        ]
    )


def pairs(a, b):
    return list(zip(a.tolist(), b.tolist(), strict=True))


def layer(step, values, prime):
    name, takes = step.gives + prime, step.takes if step.takes == "X" else step.takes + prime
    if step.kind != "linear":
        return activation(step.kind, name, takes, values)
    z = values[name]
    row, unit = place = largest(z)
    text = total(pairs(values[takes][row], values[step.weight + prime][unit]))
    if step.bias + prime in values:
        text += f" + {inside(values[step.bias + prime][unit])}"
    return f"{named(name, place)} = {text} = {number(z[place])}"


def activation(kind, name, takes, values):
    a = values[name]
    place = largest(a)
    f = {"sigmoid": "σ({})", "tanh": "tanh({})", "relu": "max({}, 0)"}[kind].format(number(values[takes][place]))
    return f"{named(name, place)} = {f} = {number(a[place])}"


def plain(of):
    """Whether the loss is without weights, so that its numbers fit in a line."""
    return of.weight is None and of.pos_weight is None


def over(of, count):
    return f"/{count}" if of.mean and count > 1 else ""


def loss(of, output, prime):
    y = of.values["y"]
    each = LOSSES[type(of.loss)](of.loss, output, y, "none")[0].reshape(-1).tolist()
    value = of.loss(output, y)
    if len(each) == 1 and plain(of) and of.kind != "squared":
        a, truth = of.values[of.answer + prime].item(), y.item()
        if truth in (0, 1):
            inner = number(a) if truth else f"1 − {number(a)}"
            return f"L{prime} = −ln({inner}) = {number(value)}"
    order = sorted(range(len(each)), key=lambda i: -abs(each[i]))
    shown = [number(each[i]) for i in sorted(order[:6])]
    if len(each) > 6:
        shown.append(f"[{len(each) - 6} more: {number(sum(each[i] for i in order[6:]))}]")
    text = " + ".join(shown)
    if of.mean and len(each) > 1:
        text = f"({text})/{len(each)}"
    return f"L{prime} = {text}" if text == number(value) else f"L{prime} = {text} = {number(value)}"


def answer_slope(of, da):
    if not plain(of):
        return ""
    place, count = largest(da), over(of, da.numel())
    a, y = number(of.values[of.answer][place]), number(of.values["y"][place])
    if of.kind == "squared":
        text = f"2·({a} − {y}){count}"
    elif (of.values[of.answer] * (1 - of.values[of.answer]))[place] < 1e-12:  # where the formula holds it
        text = f"({a} − {y})/1e−12{count}"
    else:
        text = f"({a} − {y})/({a}·(1 − {a})){count}"
    return f"{named(d(of.answer), place)} = {text} = {number(da[place])}"


def error(of, dz):
    if not plain(of):
        return ""
    place = largest(dz)
    a, y = number(of.values[of.answer][place]), number(of.values["y"][place])
    text = f"{a} − {y}"
    if count := over(of, dz.numel()):
        text = f"({text}){count}"
    return f"{named(d(of.chain.output), place)} = {text} = {number(dz[place])}"


def slope(step, values, da, dz):
    place = largest(dz)
    a = inside(values[step.gives][place])
    factor = {"sigmoid": f"{a}·(1 − {a})", "tanh": f"(1 − {a}²)", "relu": "1" if values[step.gives][place] > 0 else "0"}
    return f"{named(d(step.takes), place)} = {inside(da[place])}·{factor[step.kind]} = {number(dz[place])}"


def parameter(step, name, values, dz, gradient):
    place = largest(gradient)
    if name == step.weight:
        text = total(pairs(dz[:, place[0]], values[step.takes][:, place[1]]))
    else:
        text = sums(dz[:, place[0]].tolist())
    left = named(d(name), place)
    return f"{left} = {text}" if text == number(gradient[place]) else f"{left} = {text} = {number(gradient[place])}"


def sums(numbers, terms=4):
    if len(numbers) <= terms + 1:
        return " + ".join(inside(n) if i else number(n) for i, n in enumerate(numbers))
    order = sorted(range(len(numbers)), key=lambda i: -abs(numbers[i]))
    rest = sum(numbers[i] for i in order[terms:])
    shown = [inside(numbers[i]) for i in sorted(order[:terms])]
    return " + ".join([*shown, f"[{len(numbers) - terms} more: {number(rest)}]"])


def blame(step, values, gradient):
    row, unit = place = largest(gradient)
    text = total(pairs(values[d(step.gives)][row], values[step.weight][:, unit]))
    return f"{named(d(step.takes), place)} = {text} = {number(gradient[place])}"


def update(name, values, new, lr):
    place = largest(values[d(name)])
    old, slope = values[name][place], values[d(name)][place]
    return f"{named(name + '′', place)} = {number(old)} − {number(lr)}·{inside(slope)} = {number(new[place])}"
