"""The page for who cannot see it well, by axe-core: no violation at two widths, in light and dark."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.explanation.samples import cancer, xor


@pytest.fixture(scope="module")
def axe():
    """axe-core's script."""
    found = find_spec("axe_core_python")
    if found is None:
        pytest.skip("axe-core-python is not installed")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


EVERYTHING = """(takeStep(), takeStep(), goTo(2), byId("change").open = true, showNumbers(),
    show(cards.length - 1), pin({ column: 1, unit: 1, from: 0 }), state.nudged = true,
    byId("kind").value = "part", byId("examine").click(), show(6))"""


@pytest.mark.parametrize(
    ("width", "scheme", "script"),
    [
        (400, "light", EVERYTHING),
        (1280, "dark", EVERYTHING),
        (1280, "dark", "0"),
        *(
            pytest.param(*more, marks=pytest.mark.exhaustive)
            for more in ((400, "dark", EVERYTHING), (400, "light", "0"))
        ),
        pytest.param(1280, "light", EVERYTHING, marks=pytest.mark.exhaustive),
    ],
)
def test_axe_finds_no_violation(browse, axe, width, scheme, script):
    browser = browse(xor(), width=width, scheme=scheme)
    browser.evaluate(f"{axe};0")
    browser.evaluate(script)
    found = "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200))]))"
    assert browser.evaluate(found) == []


@pytest.mark.parametrize("width", [400, 1280])
def test_no_text_is_smaller_than_12_pixels(browse, width):
    browser = browse(cancer(), width=width)
    browser.evaluate("(show(cards.length - 1), pin({ column: 1, unit: 1, from: 0 }))")
    small = """[...document.querySelectorAll("body *")].filter((e) => e.getClientRects().length
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
      && parseFloat(getComputedStyle(e).fontSize) < 12).map((e) => [e.tagName, e.textContent.slice(0, 20)])"""
    assert browser.evaluate(f"cards.flatMap((_, step) => (show(step), {small}))") == []
