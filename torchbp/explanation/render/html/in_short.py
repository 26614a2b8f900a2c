"""The step in five lines: what goes in, what comes out, how wrong it is, which weight is to blame, what changes."""

from html import escape

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.quantities import INPUT, TARGET, d
from torchbp.explanation.render.following_text import feature_of
from torchbp.explanation.render.numbers_given import as_read
from torchbp.explanation.render.plain_text import partial
from torchbp.printing import printable

MOST = 6  # numbers of a row, or rows, that are listed


def in_short(explanation):
    """A list of questions and answers, in HTML."""
    lines = [
        ("What goes in?", escape(_inputs(explanation))),
        ("What comes out?", escape(_answers(explanation))),
        ("How wrong is it?", escape(f"L = {formatted(explanation.loss)}")),
    ]
    if blamed := _most_to_blame(explanation):
        lines += blamed
    items = "".join(f"<div><dt>{question}</dt><dd>{answer}</dd></div>" for question, answer in lines)
    return f'<dl class="short once">{items}</dl>'


def _inputs(explanation):
    x = explanation.values[INPUT.name]
    names = explanation.features or [f"{partial(INPUT)}[{unit + 1}]" for unit in range(x.shape[1])]
    if len(x) > 1:
        return f"{len(x)} rows of {x.shape[1]} inputs"
    raw = x if explanation.unscaled is None else explanation.unscaled
    shown = [f"{printable(name)} = {as_read(value)}" for name, value in zip(names, raw[0].tolist(), strict=True)]
    if raw is not x:
        shown = [f"{text} (scaled {formatted(value)})" for text, value in zip(shown, x[0].tolist(), strict=True)]
    return _listed(shown)


def _answers(explanation):
    answer = explanation.step.criterion.answer
    a, y = (explanation.values[name] for name in (answer.name, TARGET.name))
    if len(a) > 1 and a.shape[1] > 1:
        return f"{len(a)} rows of {a.shape[1]} answers {partial(answer)}"
    names = [printable(name) for name in explanation.outputs]
    if explanation.step.criterion.rule.domain is not None:
        names = [f"P({name})" for name in names]
    values, targets = a.flatten().tolist(), y.flatten().tolist()
    label = partial(answer) if a.shape[1] > 1 or not names else f"{partial(answer)} = {names[0]}"
    named = names and a.shape[1] > 1
    shown = [f"{names[i]}: {formatted(value)}" if named else formatted(value) for i, value in enumerate(values)]
    return f"{label} = {_listed(shown)}; the target is {_listed([formatted(target) for target in targets])}"


def _listed(texts):
    more = [f"and {len(texts) - MOST + 1} more"] if len(texts) > MOST else []
    return ", ".join(texts[: MOST - 1] + more if more else texts)


def _most_to_blame(explanation):
    """The weight of the largest gradient, and what the step makes of it; nothing where no weight learns."""
    learnt = [q for q in explanation.step.learnt if explanation.values[q.name].dim() == 2]
    sizes = {q: explanation.values[d(q).name].abs().max().item() for q in learnt}
    if not sizes or not 0 < max(sizes.values()) < float("inf"):
        return []
    weight = max(sizes, key=sizes.get)
    gradient = explanation.values[d(weight).name]
    to, source = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    place = f"[{to + 1},{source + 1}]"
    old, new = (explanation.values[q.name][to, source] for q in (weight, weight.after()))
    step = next(i for i, record in enumerate(explanation.records, 1) if record.quantity == d(weight))
    address = f"step={step}&amp;unit={escape(weight.name)}.{to + 1}.{source + 1}"
    layer = next(s for s in explanation.chain.layers if weight in dict(s.parameters).values())
    feature = feature_of(explanation, layer, weight, (to, source))
    blamed = f"{partial(d(weight))}{place} = {formatted(gradient[to, source])}, the largest gradient of a weight"
    blamed += f", which multiplies {feature}" if feature else ""
    before, after = formatted(explanation.loss), formatted(explanation.new_loss)
    changed = (
        f"{partial(weight)}{place} goes from {formatted(old)} to {formatted(new)}; L goes from {before} to {after}"
    )
    return [
        (
            "Which weight is most to blame?",
            f'{escape(blamed)} <button type="button" class="follow" data-address="{address}">Follow it</button>',
        ),
        ("What does the step change?", escape(changed)),
    ]
