"""The equations as text, by the names of their quantities, with the rule and the sentence that goes with each."""

import re

# a quantity, such as W1′, X or dL/dZ1, the last one in brackets where it is transposed; what else is in an equation is
# a number, a sign or a function
NAME = r"(?:dL/d|\b)(?:[A-Z]\d+|b\d+|X|y)(?![A-Za-z0-9])′?"
QUANTITY = re.compile(rf"\(({NAME})\)ᵀ|({NAME})(ᵀ?)")

ELEMENTWISE = re.compile(r"∘ |σ\(|tanh\(|max\(|y")  # signs of an equation without a matrix product

FORWARD = {
    "sigmoid": ("{a} = σ({z})", "squashes each number into (0, 1): σ(z) = 1/(1 + e^−z)"),
    "tanh": ("{a} = tanh({z})", "squashes each number into (−1, 1)"),
    "relu": ("{a} = max({z}, 0)", "lets what is positive pass, and nothing else"),
}
SLOPES = {  # dZ of dA, ∂A/∂Z, and when it is small
    "sigmoid": ("{dz} = {da} ∘ {a} ∘ (1 − {a})", "at most ¼, and almost 0 where {a} is near 0 or 1"),
    "tanh": ("{dz} = {da} ∘ (1 − {a}²)", "at most 1, and almost 0 where {a} is near −1 or 1"),
    "relu": ("{dz} = {da} ∘ [{a} > 0]", "1 where the unit is on, and 0 where it is off"),
}


def d(name):
    return f"dL/d{name}"


def linear(step, prime=""):
    bias = f" + {step.bias}{prime}"
    takes = step.takes if step.takes == "X" else step.takes + prime
    return f"{step.gives}{prime} = {takes} {step.weight}{prime}ᵀ{bias}"


def forward(step, bias, prime=""):
    """The equation of a layer's output, and why."""
    if step.kind == "linear":
        equation = linear(step, prime) if bias else linear(step, prime).split(" + ")[0]
        return equation, (
            f"Each unit of layer {step.number} weighs every number of {step.takes}{prime if step.takes != 'X' else ''} "
            f"and adds them up{', starting from its bias' if bias else ''}."
        )
    equation, what = FORWARD[step.kind]
    return equation.format(a=step.gives + prime, z=step.takes + prime), f"The activation {what}."


def loss(kind, a, count, weight, pos_weight, prime=""):
    """The equation of L, of the answers `a`. `count` is what the mean is over: N rows, or of K outputs each NK numbers;
    "" for a sum."""
    over = (f"(1/{count}) Σ " if count else "Σ ") + ("w " if weight else "")
    if kind == "squared":
        return f"L{prime} = {over}({a} − y)²"
    return f"L{prime} = −{over}[ {'p ' if pos_weight else ''}y ln {a} + (1 − y) ln(1 − {a}) ]"


def loss_slope(kind, a, count, weight, pos_weight):
    """dL/dA of the answers."""
    over = (f"(1/{count}) " if count else "") + ("w " if weight else "")
    if kind == "squared":
        return f"{d(a)} = {over}2 ({a} − y)"
    if pos_weight:
        return f"{d(a)} = {over}[ (1 − y)/(1 − {a}) − p y/{a} ]"
    return f"{d(a)} = {over}({a} − y) / ({a} (1 − {a}))"


def fused(z, a, count, weight, pos_weight):
    """dL/dZ of the logits: the product, and what it is equal to."""
    error = f"((1 − y + p y) {a} − p y)" if pos_weight else f"({a} − y)"
    equal = f"w {error}" if weight else error
    return (
        f"{d(z)} = {d(a)} ∘ {a} ∘ (1 − {a}) = {equal}{f'/{count}' if count == 'N' else f'/({count})' if count else ''}"
    )


def sizes(equation, shapes):
    """The equation with (rows×units) in the place of each quantity; ᵀ turns it round. Of one that is element by element
    the left side is enough."""

    def size(match):
        name = (match[1] or match[2]).removeprefix("dL/d")
        shape = shapes[name.removesuffix("′")]
        turned = match[1] or match[3]
        return "(" + "×".join(str(n) for n in (reversed(shape) if turned else shape)) + ")"

    if ELEMENTWISE.search(equation):
        return f"{QUANTITY.sub(size, equation.split(' = ')[0])}, element by element"
    return QUANTITY.sub(size, equation)
