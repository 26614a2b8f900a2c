"""A run's report: one HTML file that loads nothing from elsewhere, and two pictures."""

import numpy as np

from torchbp.printing import escape
from torchbp.training.atomic_write import atomic_write
from torchbp.training.report import figures
from torchbp.training.report.answer_plots import calibration_plot, precision_plot, regression_plots
from torchbp.training.report.page import report_page
from torchbp.training.report.plots import gradient_plots, learning_plots, roc_plot
from torchbp.training.report.tables import confusion, html_table

SWEEP = (
    "For each lr, at the epoch where the mean answer of its members had the lowest validation loss: that loss; mean "
    "and standard deviation of the loss and of the accuracy of single members; the epochs after which the members "
    "stopped, and why"
)

IMPORTANCE = "How far the loss of the validation rows rises when the values of a column are shuffled among them"
NO_HARDEST = "No gradient of a single row was recorded."
MOST_COLUMNS, MOST_FEATURES = 20, 200  # on the page
TEST, END = '<section id="test">', "</section>"  # of the section that `torchbp test` replaces


def write_report(
    folder,
    *,
    title,
    summary,
    history,
    activation,
    task,
    truth,
    answers,
    hardest,
    config,
    versions,
    sweep=None,
    importance=(),
    features=(),
    pack=None,
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
        truth, answers: of the validation rows, `(N, outputs)`: 0 or 1 and probabilities, or numbers; or both None.
        hardest: dicts of `row`, `split`, `label`, `predicted`, `probability` (of the label) and `norm`, of the rows
            with the largest gradients.
        config: the YAML of the run.
        versions: the version of each program.
        sweep: the head and the rows of a sweep's table, or None.
        importance: `(column, number of its features, rise of the loss)` of each column.
        features: the names of the network's features.
        pack: of a pack the plots and the table of its configurations; it has no learning curves and no gradients.
    """
    learning, gradients = learning_plots(history, task), gradient_plots(history, activation)
    flow = [plot for plot in gradients if plot.name in ("dz", "saturated")]
    sections = [
        *([_section("Sweep", [f'<div class="card all">{html_table(SWEEP, *sweep)}</div>'], "")] if sweep else []),
        *(_pack_sections(*pack) if pack else _learning_sections(learning, gradients)),
        _section("Validation rows", *_validation_answers(task, truth, answers)),
        _test_section([]),
        _section("Columns", _columns(importance, features), "The columns have no names, or are too many."),
        *([] if pack else [_section("Hardest rows", _hardest_rows(hardest), NO_HARDEST)]),
        _section("Configuration", [f'<pre tabindex="0">{escape(config)}</pre>'] if config else [], "None was kept."),
        _section("Versions", [_pairs(versions.items())] if versions else [], "None was recorded."),
    ]
    files = {"report.html": report_page(escape(title), _pairs(summary), "".join(sections)).encode()}
    files |= {name: figures.png(plots) for name, plots in (("curves.png", learning), ("gradients.png", flow)) if plots}
    for name, content in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)


def _learning_sections(learning, gradients):
    return [
        _section("Learning", [_figure(plot) for plot in learning], "No epoch was completed: there is no curve."),
        _section("Gradients", [_figure(plot) for plot in gradients], "No gradient was recorded."),
    ]


def _pack_sections(plots, table):
    return [
        _section("Configurations", [*(_figure(plot) for plot in plots), f'<div class="card all">{table}</div>'], "")
    ]


def _section(heading, parts, if_none):
    inside = "".join(parts) if parts else f"<p>{if_none}</p>"
    return f'<section><h2>{heading}</h2><div class="grid">{inside}</div></section>'


def _figure(plot):
    return (
        f"<figure><h3>{escape(plot.title)}</h3>{figures.svg(plot)}{figures.legend(plot)}"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _test_section(scores):
    """The scores of the test rows, which `torchbp test` puts here. scores: pairs `(name, text)`."""
    none = "They are not known yet: torchbp test --ckpt_path and this run's folder adds them."
    return _section("Test rows", [_pairs(scores)] if scores else [], none).replace("<section>", TEST, 1)


def add_test_scores(folder, scores):
    """Put the scores of the test rows, `{name: number}`, on the page of the run in `folder`, if there is one."""
    path = folder / "report.html"
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, start, rest = page.partition(TEST)
    _, end, after = rest.partition(END)
    if start and end:
        section = _test_section([(name, f"{value:.4f}") for name, value in scores.items()])
        with atomic_write(path) as temporary:
            temporary.write_text(before + section + after, encoding="utf-8")


def _validation_answers(task, truth, answers):
    """The plots of the answers to the validation rows, and their confusion matrix; a sentence where there are none."""
    if truth is None or not len(truth):
        return [], "There were no validation rows."
    if not np.isfinite(answers).all():
        return [], "The network's answers are not finite numbers: the run has diverged. A smaller lr helps."
    if not task.has_classes:
        return [_figure(plot) for plot in regression_plots(task.classes, truth, answers)], ""
    names = task.classes[-task.outputs :]
    plots = [of(names, truth, answers) for of in (roc_plot, precision_plot, calibration_plot)]
    matrix = f'<div class="card wide"><h3>Answers</h3>{confusion(task, truth, answers)}</div>'
    return [*(_figure(plot) for plot in plots if plot), matrix], ""


def _columns(importance, features):
    parts = []
    if importance:
        rows = [[name, count, f"{rise:+.4f}"] for name, count, rise in importance[:MOST_COLUMNS]]
        cut = f" The {MOST_COLUMNS} of {len(importance)} with the largest rise are shown." * (
            len(importance) > MOST_COLUMNS
        )
        parts.append(
            f'<div class="card all">{html_table(IMPORTANCE, ("column", "features", "rise of val/loss"), rows)}'
            "<p>A column with a rise of about 0 is not used, or others say the same. One that has nearly all of the "
            f"rise may know the answer.{cut}</p></div>"
        )
    if features:
        shown = ", ".join(features[:MOST_FEATURES]) + (", …" if len(features) > MOST_FEATURES else "")
        parts.append(f'<div class="card all"><h3>{len(features)} features</h3><p>{escape(shown)}</p></div>')
    return parts


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
