"""How every help page of `torchbp` looks: a line of usage, what the command does, and its options in two columns."""

import textwrap

WIDTH, LEFT = 80, 28  # of a line, and of its first column


def page(usage, what, sections, ending=""):
    """The text of a help page.

    Args:
        usage: the command line, after `usage: `.
        what: what the command does, a sentence or more.
        sections: title → [(option, text), …]; an empty title is left out, and so is a section without options.
        ending: a last line.
    """
    lines = [f"usage: {usage}", *textwrap.wrap(what, WIDTH)]
    for title, rows in sections.items():
        lines += ["", *([f"{title}:"] if title and rows else [])] if rows else []
        for option, text in rows:
            lines += _row(option, text)
    return "\n".join([*lines, *(["", *textwrap.wrap(ending, WIDTH)] if ending else [])])


def _row(option, text):
    first, *others = textwrap.wrap(text, WIDTH - LEFT, break_on_hyphens=False) or [""]
    left = f"  {option}"
    lines = [f"{left:<{LEFT}}{first}"] if len(left) < LEFT else [left, f"{'':<{LEFT}}{first}"]
    return [line.rstrip() for line in (*lines, *(f"{'':<{LEFT}}{other}" for other in others))]
