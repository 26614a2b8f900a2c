"""The tables of a run's report, as HTML. Names of classes and columns are escaped."""

import numpy as np

from torchbp.printing import escape

MOST_CLASSES = 20  # in a confusion matrix
LONGEST = 10  # rows of a list that is cut
RIGHT, WRONG = "31 127 196", "213 94 0"  # red, green and blue of a cell's shade


def html_table(caption, head, rows, kind="plain"):
    """A table in a box that scrolls. The first cell of each row is its heading; `rows` hold text or `Shade`s."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return _boxed(caption, f"<thead><tr>{head}</tr></thead>", rows, kind)


def _boxed(caption, head, rows, kind):
    lines = []
    for first, *rest in rows:
        cells = "".join(cell if isinstance(cell, Shade) else f"<td>{escape(str(cell))}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption>{head}<tbody>{''.join(lines)}</tbody></table></div>"
    )


class Shade(str):
    """A cell as HTML, whose background is stronger for a larger share."""

    def __new__(cls, text, share, colour):
        return super().__new__(cls, f'<td style="background:rgb({colour}/{0.55 * share:.2f})">{escape(str(text))}</td>')


def confusion(task, truth, probabilities):
    """The counts of the network's answers by true class, as HTML.

    truth: `(N, outputs)`, 0 or 1. probabilities: the same shape, in [0, 1].
    """
    classes = task.classes
    if not task.exclusive:
        return _per_label(classes, truth > 0.5, probabilities >= 0.5)
    if len(classes) == 2:
        actual, predicted = (truth[:, 0] > 0.5).astype(int), (probabilities[:, 0] >= 0.5).astype(int)
    else:
        actual, predicted = truth.argmax(axis=1), probabilities.argmax(axis=1)
    size = len(classes)
    counts = np.bincount(actual * size + predicted, minlength=size * size).reshape(size, size)
    return _matrix(classes, counts) if size <= MOST_CLASSES else _most_confused(classes, counts)


def _matrix(classes, counts):
    """counts: `(K, K)`, how many rows of class i were predicted as class j."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for i, name in enumerate(classes):
        cells = [Shade(counts[i, j], shares[i, j], RIGHT if i == j else WRONG) for j in range(len(classes))]
        rows.append([name, *cells, _percent(counts[i, i], counts[i].sum())])
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in classes)
    head = (
        f'<thead><tr><td></td><th scope="colgroup" colspan="{len(classes)}">predicted</th><td></td></tr>'
        f'<tr><th scope="col">actual</th>{names}<th scope="col">correct</th></tr></thead>'
    )
    return _boxed("Confusion matrix of the validation rows", head, rows, "matrix") + (
        "<p>A number counts rows. The shade is its share of the rows of that class: blue, on the diagonal, is correct; "
        "orange is an error. The network confuses two classes that swap rows.</p>"
    )


def _most_confused(classes, counts):
    errors = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    rows = []
    for place in np.argsort(-errors, axis=None, kind="stable")[:LONGEST]:
        i, j = divmod(place, len(classes))
        if errors[i, j]:
            rows.append([classes[i], classes[j], errors[i, j], _percent(errors[i, j], counts[i].sum())])
    note = f"<p>{len(classes)} classes are too many for a matrix; {_percent(np.trace(counts), counts.sum())} of the "
    if not rows:
        return f"{note}validation rows are correct.</p>"
    head = "actual", "predicted", "rows", "of that class"
    return (
        html_table("Most confused classes", head, rows, "pairs")
        + f"{note}validation rows are correct. These errors are the most frequent.</p>"
    )


def _per_label(names, truth, predicted):
    """truth, predicted: bool, `(N, labels)`."""
    shown, note = np.arange(len(names)), ""
    if len(names) > MOST_CLASSES:
        shown = np.argsort(-(truth != predicted).sum(axis=0), kind="stable")[:LONGEST]
        note = f"{len(names)} labels are too many to show; these have the most errors. "
    tables = []
    for i in shown:
        rows = []
        for kind, of_kind, codes in (("with it", truth[:, i], ("TP", "FN")), ("without", ~truth[:, i], ("FP", "TN"))):
            counts = (of_kind & predicted[:, i]).sum(), (of_kind & ~predicted[:, i]).sum()
            shares = np.array(counts) / max(of_kind.sum(), 1)
            colours = (RIGHT, WRONG) if kind == "with it" else (WRONG, RIGHT)
            texts = [f"{code} {count}" for code, count in zip(codes, counts, strict=True)]
            rows.append([kind, *map(Shade, texts, shares, colours)])
        tables.append(html_table(names[i], ("rows", "predicted", "not predicted"), rows))
    return f'<div class="labels">{"".join(tables)}</div>' + (
        f"<p>{note}True and false positives (TP, FP) and negatives (TN, FN) of each label among the validation rows; "
        "a label counts as predicted from P = ½ on. Blue is correct, orange is an error.</p>"
    )


def _percent(part, whole):
    return f"{part / whole:.1%}" if whole else "–"
