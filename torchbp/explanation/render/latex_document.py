"""The explanation as a document that pdfLaTeX, XeLaTeX and LuaLaTeX compile."""

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.numeric_examples import named
from torchbp.explanation.notation.quantities import INPUT, Quantity
from torchbp.explanation.notation.records import STAGES, Record, equation_text, sentence
from torchbp.explanation.render.latex import GREEK, latex, letters, number
from torchbp.explanation.render.numbers_given import AS_READ, COLUMNS, ROWS, described, size
from torchbp.explanation.render.step_summary import fall
from torchbp.explanation.render.text import loss_line, reading, tally
from torchbp.printing import printable

HEAD = r"""\documentclass[a4paper,11pt]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
\fi
\usepackage{amsmath,amssymb}
\usepackage[margin=22mm]{geometry}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\raggedright
\allowdisplaybreaks
"""
SIGNS = {  # of the sentences, in LaTeX's text
    **{c: rf"\{c}" for c in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "·": r"$\cdot$",
    "∘": r"$\circ$",
    **{letter: f"$\\{name}$" for letter, name in GREEK.items()},
    "Σ": r"$\sum$",
    "∂": r"$\partial$",
    "∇": r"$\nabla$",
    "‖": r"$\|$",
    "′": "$'$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "√": r"$\surd$",
    "→": r"$\to$",
    "ᵀ": r"$^\top$",
    "ₙ": "$_n$",
    "ₖ": "$_k$",
    "ᵗ": "$^t$",
    "…": r"\dots{}",
    "×": r"$\times$",
    "¼": r"$\tfrac14$",
    "½": r"$\tfrac12$",
    "⁻": "$^{-}$",
    **{raised: f"$^{{{digit}}}$" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}


def latex_document(explanation):
    chain = explanation.chain
    title = explanation.title or "One step of backpropagation"
    lines = [HEAD + r"\begin{document}", rf"\section*{{{_text(title)}}}"]
    if explanation.ensemble is not None:
        lines += _ensemble(explanation.ensemble)
    facts = [f"network: {chain.described()}", f"loss: {loss_line(explanation)}"]
    update = explanation.step.descent.described()
    facts += [
        f"learning rate α = {explanation.lr:g}",
        *([f"update: {update}"] if update else []),
        f"checks: {tally(explanation)}",
        reading(explanation),
    ]
    lines += [rf"{_text(fact)}\par" for fact in facts]
    lines.append(r"\subsection*{Given}")
    quantities = {q.name: q for record in explanation.records for q in _leaves(record)}
    for name, tensor in explanation.step.given.items():
        shown = latex(quantities[name]) if name in quantities else rf"\mathrm{{{letters(name)}}}"
        lines += [rf"{_text(described(explanation, name))}\par", f"\\[\n{shown} = {_matrix(tensor)}\n\\]"]
        if name == INPUT.name and explanation.unscaled is not None:
            lines += [rf"{_text(f'{name} {AS_READ}')}\par", f"\\[\n{_matrix(explanation.unscaled, blanks=True)}\n\\]"]
    stage = None
    for record in explanation.records:
        if record.stage != stage:
            stage = record.stage
            lines.append(rf"\subsection*{{{STAGES[stage]}}}")
        lines += ["", f"$\\displaystyle {equation_text(record, latex)}$\\par", _sentence(record.reason)]
        shown = f"{latex(record.quantity)} = {_matrix(record.tensor)}"
        lines.append(f"\\[\n{shown}\n\\]")
        if record.example is not None and record.tensor.dim():
            lines.append(rf"${_line(record.example)}$\par")
        elif record.example is not None:
            lines.append(f"$\\displaystyle {_line(record.example)}$\\par")
    lines += ["", r"\subsection*{What it did}", _text(fall(explanation))]
    lines += [f"\n{_sentence(parts)}" for parts in explanation.observed]
    return "\n".join([*lines, r"\end{document}", ""])


def _ensemble(ensemble):
    """How the networks answer together, as a section; and the title of the next one."""
    head, rows = ensemble.table()
    table = [" & ".join(map(_text, row)) + r" \\" for row in (head, *rows)]
    return [
        rf"\subsection*{{{_text(ensemble.title)}}}",
        rf"{_text(ensemble.equation)}\par",
        rf"{{\footnotesize\begin{{tabular}}{{@{{}}*{{{len(head)}}}{{r}}@{{}}}}",
        *table[:1],
        r"\hline",
        *table[1:],
        r"\end{tabular}\par}",
        *(rf"{_text(words)}\par" for words in ensemble.sentences()),
        rf"\subsection*{{Member {ensemble.shown}}}",
    ]


def _leaves(tree):
    """The quantities in the equations of a record, or in a tree."""
    nodes = tree.sides if isinstance(tree, Record) else tree.children()
    return [tree] if isinstance(tree, Quantity) else [q for node in nodes for q in _leaves(node)]


def _sentence(parts):
    return sentence([_text(part) if isinstance(part, str) else part for part in parts], lambda q: f"${latex(q)}$")


def _text(text):
    """A text as LaTeX's: a character that pdfLaTeX does not know is shown by its number."""
    return "".join(SIGNS.get(c) or (c if ord(c) < 0x180 else f"[U+{ord(c):04X}]") for c in printable(text))


def _line(example):
    """The equation of one element with its numbers."""
    left = named(latex(example.quantity), example.place)
    return rf"{left} = {latex(example.tree)} = {number(formatted(example.value))}"


def _matrix(tensor, blanks=False):
    """Its numbers, and of a large tensor those at its corners. blanks: whether a nan is a blank of a table as it was
    read."""
    if not tensor.dim():
        return number(formatted(tensor))

    def cell(value):
        return r"\text{blank}" if blanks and value.isnan() else number(formatted(value))

    table = tensor.reshape(-1, tensor.shape[-1])
    rows, columns = (_shown(count, most) for count, most in zip(table.shape, (ROWS, COLUMNS), strict=True))
    lines = []
    for row in rows:
        cells = [r"\vdots" if row is None else r"\cdots" if c is None else cell(table[row, c]) for c in columns]
        lines.append(" & ".join(cells))
    body = " \\\\\n".join(lines)
    note = "" if None not in (*rows, *columns) else rf" \quad ({size(tensor)})".replace("×", r" \times ")
    return f"\\begin{{pmatrix}}\n{body}\n\\end{{pmatrix}}{note}"


def _shown(count, most):
    return list(range(count)) if count <= most else [0, 1, None, count - 1]
