"""The explanation as one HTML page that needs nothing else: no address, no font, no program of anybody's."""

import json
from html import escape
from pathlib import Path

from torchbp.explanation.articles import article, strip
from torchbp.explanation.drawing import network
from torchbp.explanation.rates import curve
from torchbp.explanation.records import STAGES
from torchbp.explanation.worked import number

HERE = Path(__file__).parent / "web"
STYLES, SCRIPTS = ("page.css",), ("chain.js", "network.js", "rates.js", "page.js")


def read(names):
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def data(explanation):
    """For the script; no `<` ends it early."""
    content = {**network(explanation), "rates": curve(explanation), "loss": number(explanation.loss)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def page(explanation):
    title = explanation.title or "One step of backpropagation"
    derivation = explanation.derivation
    facts = [
        ("network", explanation.chain.described()),
        ("loss", f"{type(derivation.loss).__name__}, {derivation.loss.reduction}"),
        ("learning rate α", f"{explanation.lr:g}"),
        ("the loss went", f"from {number(explanation.loss)} to {number(explanation.new_loss)}"),
    ]
    summary = "".join(f"<div><dt>{name}</dt><dd>{escape(what)}</dd></div>" for name, what in facts)
    stages = [record.stage for record in explanation.records]
    jumps = "".join(
        f'<button type="button" data-step="{stages.index(stage)}" data-stage="{stage}">{name}</button>'
        for stage, name in STAGES.items()
        if stage in stages
    )
    steps = "".join(article(explanation, record, place) for place, record in enumerate(explanation.records))
    seen = "".join(f"<li>{escape(sentence)}</li>" for sentence in explanation.observations)
    template = (HERE / "page.html").read_text(encoding="utf-8")
    for name, text in {
        "title": escape(title),
        "style": read(STYLES),
        "summary": summary,
        "jumps": jumps,
        "strip": strip(explanation),
        "seen": f'<section class="card seen"><h2>What there is to see</h2><ul>{seen}</ul></section>' if seen else "",
        "script": read(SCRIPTS),
        "steps": steps,
        "data": data(explanation),
    }.items():
        template = template.replace(f"{{{{{name}}}}}", text)
    return template


def framed(explanation):
    """The page within a notebook's."""
    style = "width:100%;height:1100px;border:0"
    return f'<iframe title="torchbp explain" sandbox="allow-scripts" style="{style}" srcdoc="{escape(page(explanation))}"></iframe>'
