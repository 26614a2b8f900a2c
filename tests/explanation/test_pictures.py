"""The picture in the chapter is made by a command, is small, and is the one that the chapter shows."""

import re
from pathlib import Path

from PIL import Image

import torchbp
from tests.explanation import pictures


def test_the_picture_is_made_by_the_command(browser, tmp_path):
    picture = tmp_path / "page.png"
    pictures.write_picture(browser, picture)
    assert browser.console == []
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as made, Image.open(pictures.PICTURE) as shown:
        assert made.width == shown.width
        assert abs(made.height - shown.height) < 200  # by the fonts
        assert len(made.convert("RGB").getcolors(1 << 24)) > 50


def test_the_chapter_shows_the_picture():
    chapter = Path(torchbp.__file__).parent / "explanation/README.md"
    (link,) = re.findall(r"!\[[^]]{20,}\]\((\S+)\)", chapter.read_text(encoding="utf-8"))
    assert (chapter.parent / link).resolve() == pictures.PICTURE
    assert pictures.PICTURE.stat().st_size < 200_000
