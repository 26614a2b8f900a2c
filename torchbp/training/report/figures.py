"""Drawing with matplotlib: an inline SVG, which has the colour and the font of its page, and a PNG."""

import io
import itertools
import re

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from torchbp.printing import escape

# each has a contrast of 3 or more to white and to near-black, and they differ for colour-blind eyes
COLOURS = "#1f7fc4", "#d55e00", "#00936b", "#c0609a", "#8a7400"
DASHES = (), (7, 2.5), (2, 2), (8, 2, 2, 2), (4, 1.5)
INK = "#010203"  # replaced by the page's own colour
WIDTH, HEIGHT = 400, 280
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "torchbp",  # the same run gives the same bytes
    "font.size": 13,
    "lines.linewidth": 1.7,
    "lines.scale_dashes": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def curve_style(i):
    """Colour and dashes of the i-th curve; the first twenty-five are all different."""
    return COLOURS[i % 5], DASHES[(i + i // 5) % 5]


def plot_style(ink):
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    # from matplotlib's defaults: the user's style might need TeX, or a font
    return matplotlib.style.context(["default", STYLE | dict.fromkeys(inks, ink)])


def svg(plot):
    """The plot as an `<svg>` element, `WIDTH` px wide where there is room. The names of the curves are in the legend:
    matplotlib would read those from the data as formulas."""
    label = f"{plot.title}. {'; '.join(curve.label for curve in plot.curves)}"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{drawn(plot)}</svg>'
    )


def drawn(plot):
    """The content of the `<svg>` element."""
    text = io.StringIO()
    with plot_style(INK):
        figure = Figure((WIDTH / 72, HEIGHT / 72))
        draw_plot(plot, figure.add_axes((0.17, 0.17, 0.81, 0.8)))
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    inside = re.search(r"<svg[^>]*>(.*)</svg>", text.getvalue(), re.DOTALL)[1]
    inside = re.sub(r"<style.*?</style>|<!--.*?-->", "", inside, flags=re.DOTALL)
    # the font is the page's; older versions of matplotlib write its size and family as one
    inside = re.sub(r"font-family: [^;\"]*;?", "", re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", inside))
    inside = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{plot.name}-", inside)  # ids are unique in the page
    return re.sub(r"\n\s*", "\n", inside.replace(INK, "currentColor"))


def legend(plot):
    """The legend of `svg` as an HTML list: it wraps, and names are escaped."""
    items = []
    for i, curve in enumerate(plot.curves):
        colour, dashes = curve_style(i)
        line = f'<path d="M0 5H30" stroke="{colour}" stroke-dasharray="{" ".join(map(str, dashes)) or "none"}"/>'
        items.append(
            f'<li><svg class="swatch" viewBox="0 0 30 10" aria-hidden="true">{line}</svg>{escape(curve.label)}'
        )
    return f'<ul class="legend">{"".join(item + "</li>" for item in items)}</ul>'


def png(plots):
    """The bytes of a PNG with the plots side by side, each with its legend. No label may come from the data."""
    content = io.BytesIO()
    with plot_style("#222222"):
        figure = Figure((5.6 * len(plots), 4.2))
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        for plot, axes in zip(plots, figure.subplots(1, len(plots), squeeze=False)[0], strict=True):
            draw_plot(plot, axes)
            axes.set_title(plot.title, fontsize=13)
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2, fontsize=11)
        figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()


def draw_plot(plot, axes):
    for i, curve in enumerate(plot.curves):
        colour, dashes = curve_style(i)
        marker = "o" if len(curve.x) == 1 or plot.points or plot.marked else None  # a single point is no line
        style = {"linestyle": "none", "alpha": 0.5} if plot.points else {"linestyle": (0, dashes or None)}
        axes.plot(curve.x, curve.y, color=colour, marker=marker, markersize=3, label=curve.label, **style)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    if plot.unit:
        axes.set_ylim(-0.02, 1.02)
    if plot.x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        first, last = axes.dataLim.intervalx
        if first == last:
            axes.set_xlim(first - 1, last + 1)
    else:
        if plot.line:
            axes.plot(*plot.line, color=axes.xaxis.label.get_color(), alpha=0.4, linewidth=1)
        if plot.unit:
            axes.set_xlim(-0.02, 1.02)
    if plot.log:
        whole_decades(axes, np.log10(list(itertools.chain(*(curve.y for curve in plot.curves)))))


def whole_decades(axes, logarithms):
    """A log scale from one power of ten to another, so that at least two are labelled."""
    low, high = np.floor(logarithms.min()), np.ceil(logarithms.max())
    axes.set_yscale("log")
    axes.set_ylim(10**low, 10 ** max(high, low + 1))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"10{str(round(np.log10(value))).translate(SUPERSCRIPTS)}")
    )
    axes.yaxis.set_minor_formatter(NullFormatter())
