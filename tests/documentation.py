"""The README and the chapters, which are the README.md files of torchbp's folders."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def documentation():
    """{path, relative to the repository: text}: the README first, then the chapter on training, whose runs the other
    chapters use, then the others by name."""
    chapters = sorted(ROOT.glob("torchbp/*/README.md"), key=lambda path: (path.parent.name != "training", path))
    paths = [ROOT / "README.md", *chapters]
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in paths}


def all_documentation():
    """The texts as one."""
    return "\n".join(documentation().values())


def code_blocks(language, text):
    """The blocks of a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def headings(text):
    """The anchors of the headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
