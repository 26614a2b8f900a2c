"""A run's report: one HTML file that loads nothing from elsewhere, and two pictures."""

import numpy as np

from torchbp.printing import escape
from torchbp.training.atomic_write import atomic_write
from torchbp.training.report import figures
from torchbp.training.report.page import report_page
from torchbp.training.report.plots import gradient_plots, learning_plots, roc_plot
from torchbp.training.report.tables import confusion, html_table

SWEEP = (
    "For each lr, at the epoch where the mean answer of its members had the lowest validation loss: that loss; mean "
    "and standard deviation of the loss and of the accuracy of single members; the epochs after which the members "
    "stopped, and why"
)


def write_report(
    folder,
    *,
    title,
    summary,
    history,
    activation,
    task,
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
            `val/accuracy`; for each layer l from 1 `dz_rms/l`, `dw_rms/l`, `dw_to_w/l`, `saturated/l`; and
            `sample_gradient/p05`, `/p50`, `/p95`, `/max`. Numbers that are not finite are not drawn.
        activation: the name of the hidden layers' activation.
        task: what the network is trained for.
        truth, probabilities: of the validation rows, `(N, outputs)`, 0 or 1, and in [0, 1]; or both None.
        hardest: dicts of `row`, `split`, `label`, `predicted`, `probability` (of the label) and `norm`, of the rows
            with the largest gradients.
        config: the YAML of the run.
        versions: the version of each program.
        sweep: the head and the rows of a sweep's table, or None.
    """
    learning, gradients = learning_plots(history, task), gradient_plots(history, activation)
    flow = [plot for plot in gradients if plot.name in ("dz", "saturated")]
    sections = [
        *([_section("Sweep", [f'<div class="card all">{html_table(SWEEP, *sweep)}</div>'], "")] if sweep else []),
        _section("Learning", [_figure(plot) for plot in learning], "No epoch was completed: there is no curve."),
        _section("Gradients", [_figure(plot) for plot in gradients], "No gradient was recorded."),
        _section("Validation rows", *_validation_answers(task, truth, probabilities)),
        _section("Hardest rows", _hardest_rows(hardest), "No gradient of a single row was recorded."),
        _section("Configuration", [f'<pre tabindex="0">{escape(config)}</pre>'] if config else [], "None was kept."),
        _section("Versions", [_pairs(versions.items())] if versions else [], "None was recorded."),
    ]
    files = {"report.html": report_page(escape(title), _pairs(summary), "".join(sections)).encode()}
    files |= {name: figures.png(plots) for name, plots in (("curves.png", learning), ("gradients.png", flow)) if plots}
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)


def _section(heading, parts, if_none):
    inside = "".join(parts) if parts else f"<p>{if_none}</p>"
    return f'<section><h2>{heading}</h2><div class="grid">{inside}</div></section>'


def _figure(plot):
    return (
        f"<figure><h3>{escape(plot.title)}</h3>{figures.svg(plot)}{figures.legend(plot)}"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _validation_answers(task, truth, probabilities):
    """ROC and confusion matrix of the validation rows; and a sentence for the case that there is neither."""
    if not task.has_classes:
        return [], "The answers are numbers: there is no ROC and no table of classes."
    if truth is None or not len(truth):
        return [], "There were no validation rows."
    if not np.isfinite(probabilities).all():
        return [], "The network's answers are not finite numbers: the run has diverged. A smaller lr helps."
    roc = roc_plot(task.classes[-task.outputs :], truth, probabilities)
    matrix = f'<div class="card wide"><h3>Answers</h3>{confusion(task, truth, probabilities)}</div>'
    return [_figure(roc), matrix] if roc else [matrix], ""


def _hardest_rows(hardest):
    if not hardest:
        return []
    head = "row", "split", "label", "predicted", "P(label)", "gradient norm"
    rows = [
        [r["row"], r["split"], r["label"], r["predicted"], _share(r["probability"]), f"{r['norm']:.3g}"]
        for r in hardest
    ]
    return [
        f'<div class="card all">{html_table("The rows with the largest gradients", head, rows, "hardest")}'
        "<p>A row with a large gradient is either hard or mislabelled. Look at these first.</p></div>"
    ]


def _share(probability):
    return "–" if probability is None else f"{probability:.3f}"


def _pairs(named):
    return f"<dl>{''.join(f'<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>' for k, v in named)}</dl>"
