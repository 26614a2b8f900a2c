"""What the HTML pages of torchbp share: the report of a run and the explanation of a step."""

from pathlib import Path


def shared_style():
    """The style sheet of both pages, as text: colours (light and dark), body, cards, tables, print. A page adds its
    own rules after it."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
