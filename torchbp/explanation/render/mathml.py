"""Equations as MathML, which browsers draw and read aloud: from the text of equations.py."""

import re
from html import escape

from torchbp.explanation.equations import NAME

TOKEN = re.compile(
    rf"(?P<turned>\((?P<inner>{NAME})\)ᵀ)|(?P<name>{NAME})(?P<after>[ᵀ²]?)|(?P<partial>∂L?/?∂?\w*)"
    r"|(?P<share>\((?P<top>\d)/(?P<bottom>\w+)\))|(?P<word>tanh|max|ln|Σₙ|[A-Za-zσαΣ])|(?P<number>\d+)|(?P<sign>[^\w\s])"
)


def math(equation, shapes=None, display=True):
    """An equation as a `<math>`; with `shapes`, name → tuple, each of those quantities has its size beneath. What it is
    equal to in another form stands in a second line."""
    left, *sides = re.split(r" (?== )", equation)
    lines = [row(text, shapes or {}) for text in (f"{left} {sides[0]}", *sides[1:])] if sides else [row(left, {})]
    inside = lines[0] if len(lines) == 1 else "".join(f"<mtr><mtd>{line}</mtd></mtr>" for line in lines)
    tag, kind = "mrow" if len(lines) == 1 else "mtable", ' display="block"' if display else ""
    return f'<math{kind} alttext="{escape(equation)}"><{tag}>{inside}</{tag}></math>'


def row(text, shapes):
    """The content of an mrow. “( … ) / ( … )” is a fraction."""
    if " / (" in text:
        left, right = text.split(" / ", 1)
        start = left.rindex("(") if left.count("(") == 1 else opening(left)
        return (
            f"{row(left[:start], shapes)}<mfrac><mrow>{row(left[start + 1 : -1], shapes)}</mrow>"
            f"<mrow>{row(right[1:-1], shapes)}</mrow></mfrac>"
        )
    parts, factor = [], False
    for match in TOKEN.finditer(text):
        is_factor = bool(match["name"] or match["turned"])
        if factor and is_factor:
            parts.append('<mspace width=".2em"></mspace>')
        parts.append(token(match, shapes))
        factor = is_factor
    return "".join(parts)


def opening(text):
    """Where the bracket stands that the last character closes."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(text)


def token(match, shapes):
    if name := match["inner"] or match["name"]:
        turned = bool(match["turned"]) or match["after"] == "ᵀ"
        above = "<mi>T</mi>" if turned else "<mn>2</mn>" if match["after"] == "²" else ""
        if above and name.startswith("dL/d"):
            drawn = f"<msup><mrow><mo>(</mo>{quantity(name)}<mo>)</mo></mrow>{above}</msup>"
        else:
            drawn = quantity(name, above)
        return sized(drawn, name, turned, shapes)
    if match["share"]:
        below = "".join(f"<mi>{letter}</mi>" for letter in match["bottom"])
        return f"<mfrac><mn>{match['top']}</mn><mrow>{below}</mrow></mfrac>"
    if word := match["word"]:
        if word == "Σₙ":
            return "<munder><mo>∑</mo><mi>n</mi></munder>"
        if word == "ln":
            return '<mspace width=".2em"></mspace><mi>ln</mi><mspace width=".2em"></mspace>'
        return "<mo>∑</mo>" if word == "Σ" else f"<mi>{word}</mi>"
    if match["number"]:
        return f"<mn>{match['number']}</mn>"
    sign = escape(match["sign"] or match["partial"] or "")
    return f"<mo>{sign}</mo>"


def sized(drawn, name, turned, shapes):
    shape = shapes.get(name)
    if not shape:
        return drawn
    size = "×".join(str(n) for n in (reversed(shape) if turned else shape))
    return f'<munder>{drawn}<mtext class="size">{size}</mtext></munder>'


def quantity(name, above=""):
    """Z₁, W₁′, X, or ∂L/∂Z₁ as a fraction; `above` is what stands at the upper right."""
    if name.startswith("dL/d"):
        below = quantity(name.removeprefix("dL/d"))
        return f"<mfrac><mrow><mi>∂</mi><mi>L</mi></mrow><mrow><mi>∂</mi>{below}</mrow></mfrac>"
    letter, number, prime = re.fullmatch(r"([A-Za-z])(\d*)(′?)", name).groups()
    above = f"<mrow>{'<mo>′</mo>' if prime else ''}{above}</mrow>" if prime or above else ""
    if not number:
        return f"<msup><mi>{letter}</mi>{above}</msup>" if above else f"<mi>{letter}</mi>"
    base = f"<mi>{letter}</mi><mn>{number}</mn>"
    return f"<msubsup>{base}{above}</msubsup>" if above else f"<msub>{base}</msub>"


def partial(name):
    """∂L/∂Z1 or ∂Z1/∂W1, the name of a factor, as a fraction."""
    above, below = re.fullmatch(r"∂(\w+)/∂(\w+)", name).groups()
    above, below = (quantity(part) for part in (above, below))
    return f"<mfrac><mrow><mi>∂</mi>{above}</mrow><mrow><mi>∂</mi>{below}</mrow></mfrac>"


def rule(text):
    """The chain rule: ∂L/∂W1 = ∂L/∂Z1 · ∂Z1/∂W1."""
    parts = [f"<mo>{part}</mo>" if part in "=·" else partial(part) for part in text.split(" ")]
    return f'<math display="block" alttext="{escape(text)}"><mrow>{"".join(parts)}</mrow></math>'
