"""A run's report: one HTML file that needs nothing else, and two pictures."""

import numpy as np

from torchbp.printing import escape
from torchbp.training.atomic_write import atomic_write
from torchbp.training.callbacks.saturation import SATURATION
from torchbp.training.report import figures
from torchbp.training.report.page import page
from torchbp.training.report.plots import gradient_plots, learning_plots, roc_plot
from torchbp.training.report.tables import confusion, table

SWEEP = (
    "For each lr, of the epoch where its members together had the lowest loss: that loss; the mean and the deviation "
    "of the loss and of the accuracy of each member by itself, on the validation rows; and when and why they stopped"
)


def write_report(
    folder,
    *,
    title,
    summary,
    history,
    activation,
    classes,
    multilabel,
    truth,
    probabilities,
    hardest,
    config,
    versions,
    sweep=None,
):
    """Write `report.html`, `curves.png` and `gradients.png`; a picture without data is left out.

    Args:
        folder: the run's folder, a Path that exists.
        title: of the page.
        summary: pairs `(name, text)` about the run.
        history: a DataFrame, a row per epoch: `epoch` from 0, and what there is of `train/loss`, `val/loss`,
            `val/accuracy`; of each layer l from 1 `dz_rms/l`, `dw_rms/l`, `dw_to_w/l`, `saturated/l`; and
            `sample_gradient/p05`, `/p50`, `/p95`, `/max`. What is not a finite number is not drawn.
        activation: of the hidden layers; it says what the share `saturated/l` is of.
        classes: their names; of two classes, the one output is P(the second class).
        multilabel: whether `classes` are labels of 0 or 1 instead, each with an output of its own.
        truth, probabilities: of the validation rows, `(N, outputs)`, of 0/1 and of [0, 1]; or both None.
        hardest: dicts of `row`, `split`, `label`, `predicted`, `probability` (of the label) and `norm`, of the rows
            whose gradient is largest.
        config: the YAML of the run.
        versions: the version of each program.
        sweep: head and rows of the table of a sweep, or None.
    """
    learning, gradients = learning_plots(history, multilabel), gradient_plots(history, SATURATION[activation])
    flow = [plot for plot in gradients if plot.name in ("dz", "saturated")]
    sections = [
        *([section("Sweep", [f'<div class="card all">{table(SWEEP, *sweep)}</div>'], "")] if sweep else []),
        section("Learning", [drawing(plot) for plot in learning], "No epoch was completed: there is no curve."),
        section("Gradients", [drawing(plot) for plot in gradients], "No gradient was recorded."),
        section("Validation rows", *answers(classes, multilabel, truth, probabilities)),
        section("Hardest rows", hard(hardest), "No gradient of a single row was recorded."),
        section("Configuration", [f'<pre tabindex="0">{escape(config)}</pre>'] if config else [], "None was kept."),
        section("Versions", [pairs(versions.items())] if versions else [], "None was recorded."),
    ]
    files = {"report.html": page(escape(title), pairs(summary), "".join(sections)).encode()}
    files |= {name: figures.png(plots) for name, plots in (("curves.png", learning), ("gradients.png", flow)) if plots}
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)


def section(heading, parts, otherwise):
    inside = "".join(parts) if parts else f"<p>{otherwise}</p>"
    return f'<section><h2>{heading}</h2><div class="grid">{inside}</div></section>'


def drawing(plot):
    return (
        f"<figure><h3>{escape(plot.title)}</h3>{figures.svg(plot)}{figures.legend(plot)}"
        f"<figcaption>{escape(plot.look)}</figcaption></figure>"
    )


def answers(classes, multilabel, truth, probabilities):
    """The ROC and the confusion matrix of the validation rows, and what to say if there is neither."""
    if truth is None or not len(truth):
        return [], "There were no validation rows."
    if not np.isfinite(probabilities).all():
        return [], "The network answers with numbers that are not finite: the run has diverged. A smaller lr helps."
    outputs = classes if multilabel or len(classes) > 2 else classes[1:]
    roc = roc_plot(outputs, truth, probabilities)
    matrix = f'<div class="card wide"><h3>Answers</h3>{confusion(classes, multilabel, truth, probabilities)}</div>'
    return [drawing(roc), matrix] if roc else [matrix], ""


def hard(hardest):
    if not hardest:
        return []
    head = "row", "split", "label", "predicted", "P(label)", "gradient norm"
    rows = [
        [r["row"], r["split"], r["label"], r["predicted"], f"{r['probability']:.3f}", f"{r['norm']:.3g}"]
        for r in hardest
    ]
    return [
        f'<div class="card all">{table("The rows with the largest gradient of their own", head, rows, "hardest")}'
        "<p>A row that pulls the weights hard is either hard or mislabelled. Look at these first.</p></div>"
    ]


def pairs(named):
    return f"<dl>{''.join(f'<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>' for k, v in named)}</dl>"
