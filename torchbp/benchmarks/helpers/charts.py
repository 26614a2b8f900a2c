"""The results of a benchmark as a PNG: a panel of bars for each network, and a panel of curves for all that grows.

A bar is a ratio on a logarithmic axis and begins at 1, the peer: to the left is less, to the right is more.
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from torchbp.benchmarks.helpers.tables import by_variant, figure, grouped, summary_of
from torchbp.training.report.figures import DASHES, plot_style, whole_decades

OURS = "#1f7fc4"
# how the names of the variants begin that are not of torchbp, and the colours of their curves
OTHERS = {
    "torch.nn": "#555555",
    "torch.": "#d55e00",
    "JAX": "#00936b",
    "numpy": "#8a7400",
    "raw loop, torch.nn": "#555555",
    "DataLoader": "#555555",
    "scikit-learn": "#c0609a",
    "Lightning": "#555555",
    "pandas": "#555555",
}
GREY = "#9a9a9a"
# marks on the axis of a ratio, by how far it reaches
MARKS = {4: (0.5, 0.75, 1, 1.5, 2, 3), 200: (0.01, 0.03, 0.1, 0.3, 1, 3), float("inf"): (1e-4, 1e-2, 1)}
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def draw(path, benchmark, report):
    """Write the picture of `report["results"]` to the path."""
    tasks = dict.fromkeys(record.get("task") for record in report["results"])
    lines, keys = zip(*(summary_of(benchmark, task) for task in tasks), strict=True)
    what, key = "\n".join(lines), keys[0]
    rows = list(_rows_of(benchmark, report["results"]))
    columns = max(len(panels) for _, panels in rows)
    heights = [4.4 if _curved(panels) else 0.9 + 0.25 * len(_names_of(panels)) for _, panels in rows]
    with plot_style("#222222"):
        canvas = Figure((3 + 2.4 * columns, sum(heights) + 0.9), dpi=110)
        canvas.set_layout_engine("constrained")
        machine = textwrap.fill(report["machine"], 40 + 25 * columns)
        canvas.suptitle(f"{what}: to the left of 1 is less\n{machine}", fontsize=11)
        parts = canvas.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for (title, panels), part in zip(rows, parts, strict=True):
            if _curved(panels):
                _curves(part, title, panels)
            else:
                _bars(part, title, panels, columns, key)
        canvas.savefig(path, metadata={"Software": None})


def _rows_of(benchmark, records):
    """(title, {network: its variants}) of each row of panels: of a number of threads, and of one peer or of growth."""
    for threads, mine in grouped([{"threads": None, **record} for record in records], "threads").items():
        of_threads = f"{threads} thread{'s' * (threads > 1)}" if threads else ""
        for task, of_task in grouped([{"task": "", **record} for record in mine], "task").items():
            rows = {}
            for network, variants in grouped(of_task, "network").items():
                rows.setdefault("growth" in variants[0] or variants[0]["variant"], {})[network] = variants
            for peer, panels in rows.items():
                other_peer = "" if peer in (True, getattr(benchmark, "PEER", peer)) else f"beside {peer}"
                yield ", ".join(filter(None, (task, of_threads, other_peer))), panels


def _curved(panels):
    return "growth" in next(iter(panels.values()))[0]


def _bars(part, title, panels, columns, key):
    part.suptitle(title, fontsize=10, x=0.01, ha="left")
    names = _names_of(panels)
    ratios = [record[key] for variants in panels.values() for record in variants]
    low, high = min(*ratios, 0.8), max(*ratios, 1.25)
    marks = next(marks for reach, marks in MARKS.items() if high / low <= reach)
    all_axes = part.subplots(1, columns, sharey=True, squeeze=False)[0]
    for axes, (network, variants) in zip(all_axes, panels.items(), strict=False):
        for name, ratio in by_variant(variants, key).items():
            _bar(axes, names.index(name), ratio, OURS if _other(name) is None else GREY)
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.45, high * (high / low) ** 0.35)  # room for the figures
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(PLAIN)
        axes.tick_params(labelsize=9, left=False)
        axes.axvline(1, color="#222222", linewidth=0.8)
        axes.set_title(network, fontsize=10)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].invert_yaxis()
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)


def _bar(axes, place, ratio, colour):
    axes.barh(place, ratio - 1, left=1, height=0.7, color=colour)
    offset, side = (4, "left") if ratio >= 1 else (-4, "right")
    text = figure(ratio, "{:.2f}")
    axes.annotate(text, (ratio, place), (offset, 0), textcoords="offset points", ha=side, va="center", fontsize=8.5)


def _curves(part, title, panels):
    part.suptitle(f"µs a step{', ' * bool(title)}{title}", fontsize=10, x=0.01, ha="left")
    for axes, (network, records) in zip(part.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        seen = []
        for name, of_variant in grouped(records, "variant").items():
            seen.append(_other(name) or OURS)
            dashes = DASHES[seen.count(seen[-1]) - 1]  # of the second one of a colour
            values, times = zip(*((record["value"], record["us"]) for record in of_variant), strict=True)
            axes.loglog(values, times, color=seen[-1], linestyle=(0, dashes or None), marker=".", label=name)
        _proportional(axes, records)
        whole_decades(axes, np.log10([record["us"] for record in records]))
        axes.xaxis.set_major_locator(FixedLocator(sorted({record["value"] for record in records})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(PLAIN)
        axes.set_title(network.removeprefix("growth with "), fontsize=10)
        axes.set_xlabel(records[0]["growth"], fontsize=9)
        axes.tick_params(labelsize=9)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8.5, handlelength=3)


def _proportional(axes, records):
    """A grey line up to the last point of the fastest: twice the size, twice the time."""
    last = min(records, key=lambda record: (-record["value"], record["us"]))
    ends = [(last["value"] / part, last["us"] / part) for part in (16, 1)]
    axes.plot(
        *zip(*ends, strict=True),
        color="#222222",
        alpha=0.2,
        linewidth=5,
        zorder=0,
        label="twice the size, twice the time",
    )


def _names_of(panels):
    return list(dict.fromkeys(record["variant"] for variants in panels.values() for record in variants))


def _other(name):
    """The colour of another library's variant, or None."""
    return next((colour for start, colour in OTHERS.items() if name.startswith(start)), None)
