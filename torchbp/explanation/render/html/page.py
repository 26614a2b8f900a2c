"""The explanation as one HTML page, without URLs, fonts or third-party scripts."""

import functools
import json
import math
import re
from html import escape
from pathlib import Path

import torch

from torchbp.explanation.notation.numbers import formatted
from torchbp.explanation.notation.records import STAGES, sentence
from torchbp.explanation.render.html import network_data
from torchbp.explanation.render.html.cards import card, ensemble_card, given, readable, shrinkage, strip
from torchbp.explanation.render.html.in_short import in_short
from torchbp.explanation.render.html.program import NoProgramError, program
from torchbp.explanation.render.html.smaller import smaller_script, smaller_style
from torchbp.explanation.render.html.step_curve import curve
from torchbp.explanation.render.plain_text import partial
from torchbp.explanation.render.text import loss_line, reading, tally
from torchbp.printing import printable
from torchbp.web import shared_style

HERE = Path(__file__).parent
POINTS = 200  # of the curve of a loss
AGAIN = "explain(…, steps=100), or torchbp explain --steps 100,"
FOR_NODES = {  # the files that only some nodes need
    "places.js": ("Gather", "Folded", "Collect", "Beside", "Contraction", "FirstLargest"),
    "kernels.js": ("Contraction",),
}
JUMPS = {"again": "Again"}  # where the name is too long for a button
SCRIPTS = (
    "state.js",
    "evaluate.js",
    "train.js",
    "lines.js",
    "places.js",
    "chain.js",
    "nudge.js",
    "what_if.js",
    "network.js",
    "paint.js",
    "step_curve.js",
    "plots.js",
    "controls.js",
    "formula.js",
    "verdicts.js",
    "exercise.js",
    "row.js",
    "refresh.js",
    "kernels.js",
    "page.js",
)


@functools.cache
def script(names):
    """The files of the script as the page has them."""
    return smaller_script(read(f"script/{name}" for name in names))


def read(names):
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def style():
    """The rules that all pages share, and this page's."""
    return shared_style() + read(["page.css"])


def _data(explanation, found):
    """The JSON for the script. `<` is escaped, so that no text ends the script's element."""
    content = {**network_data.network(explanation, found is None), "rates": curve(explanation), "program": found}
    if found and explanation.values["X"].dtype == torch.float64:  # the page computes them; float32 rounds and overflows
        del content["tensors"], content["slopes"]
    content["loss"] = network_data.rounded(explanation.loss)
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def page(explanation):
    title = explanation.title or "One step of backpropagation"
    facts = [  # with what the script writes in them, or the class of what is true of the first step alone
        ("network", explanation.chain.described(), ""),
        ("loss", loss_line(explanation), ""),
        ("learning rate α", f"{explanation.lr:g}", ' id="fact-rate"'),
        (
            "L before and after",
            f"{formatted(explanation.loss)} and {formatted(explanation.new_loss)}",
            ' id="fact-losses"',
        ),
        ("checks", tally(explanation, partial), ' class="once"'),
    ]
    summary = "".join(f"<div{more}><dt>{name}</dt><dd>{readable(what)}</dd></div>" for name, what, more in facts)
    found, training = _program_and_card(explanation)
    stages = [record.stage for record in explanation.records]
    jumps = "".join(
        f'<button type="button" data-step="{stages.index(stage)}" data-stage="{stage}">{name}</button>'
        for stage, name in (STAGES | JUMPS).items()
        if stage in stages
    )
    steps = "".join(map(card, explanation.records))
    seen = "".join(f"<li>{readable(sentence(parts, partial))}</li>" for parts in explanation.observed)
    template = (HERE / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": escape(printable(title)),
        "style": smaller_style(style()),
        "short": in_short(explanation),
        "given": given(explanation),
        "summary": summary,
        "ensemble": ensemble_card(explanation.ensemble) if explanation.ensemble is not None else "",
        "jumps": jumps,
        "strip": strip(explanation),
        "way": shrinkage(explanation),
        "seen": f'<section class="card seen"><h2>Observations</h2><ul>{seen}</ul></section>' if seen else "",
        "script": script(_scripts(found)),
        "training": training,
        "reading": readable(reading(explanation, partial)),
        "steps": steps,
        "data": _data(explanation, found),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _scripts(program):
    """The script's files; those for some nodes only where an equation has one."""
    text = json.dumps(program)
    unused = [name for name, nodes in FOR_NODES.items() if not any(f'["{node}"' in text for node in nodes)]
    return tuple(name for name in SCRIPTS if name not in unused)


def _program_and_card(explanation):
    """What the page trains the network by, or None; and the card of it, which says why there is none."""
    try:
        found = program(explanation)
    except NoProgramError as error:
        return None, f"<p>{readable(str(error))}</p>{recorded(explanation)}"
    masks = "<p>Each step draws another mask of the dropout, not Python's.</p>" if explanation.chain.drawn else ""
    return found, masks + read(["training.html"])


def recorded(explanation):
    """The loss of each step that Python has taken, drawn; or how to have it drawn."""
    if len(explanation.steps) == 1:
        return f"<p>With {AGAIN} it draws the loss of each step that Python takes.</p>"
    losses = [summary.loss for summary in explanation.steps.summaries()]
    every = max(1, math.ceil(len(losses) / POINTS))
    known = [(at, loss) for at, loss in enumerate(losses) if math.isfinite(loss) and at % every == 0]
    low, high = (choose(loss for _, loss in known) for choose in (min, max)) if known else (0.0, 0.0)
    x, y = 500 / max(len(losses) - 1, 1), 120 / (high - low or 1)
    points = " ".join(f"{x * at:.4g},{y * (high - loss):.4g}" for at, loss in known)
    says = (
        f"The loss of {len(losses)} steps, as Python has taken them: {formatted(losses[0])} at first and "
        f"{formatted(losses[-1])} before the last step. The lowest is {formatted(low)}."
    )
    return (
        f'<p>{says}</p><div class="plot"><svg viewBox="-4 -4 508 128" role="img" aria-label="The loss of each step">'
        f'<polyline class="line" points="{points}"/></svg></div>'
    )


def framed(explanation):
    """The page in a frame, for a notebook."""
    look = 'sandbox="allow-scripts" style="width:100%;height:1100px;border:0"'
    return f'<iframe title="torchbp explain" {look} srcdoc="{escape(page(explanation))}"></iframe>'
