"""The page: what stands in it, that it needs nothing else, and what a browser makes of it, driven as a user would."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
import torch

import torchbp
from tests.explanation.browser import CHROMIUM, Browser
from torchbp.explanation import mathml
from torchbp.explanation.page import STYLES, read

XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])
NASTY = "</script><script>alert(1)</script> {{data}} & \"q\" 'a'"


def xor(**names):
    torch.manual_seed(0)
    return torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), *XOR, lr=1.0, **names)


def cancer():
    torch.manual_seed(1)
    net = torchbp.nn.MLP(30, 16, 1, dtype=torch.float64)
    names = [f"measurement number {i}" for i in range(30)]
    return torchbp.explain(net, torch.randn(30), [1.0], lr=0.5, features=names, outputs=["benign"])


def large():
    torch.manual_seed(2)
    net = torchbp.nn.MLP(784, 512, 512, 10, activation="relu")
    return torchbp.explain(net, torch.rand(784), torch.eye(10)[3])


def deep():
    torch.manual_seed(3)
    return torchbp.explain(torchbp.nn.MLP(2, *[4] * 8, 1, dtype=torch.float64), *XOR)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


@pytest.mark.parametrize(
    ("explanation", "most"), [(xor, 200_000), (cancer, 500_000), (large, 2_000_000), (deep, 500_000)]
)
def test_page_is_small_and_needs_nothing_else(explanation, most):
    page = explanation().html()
    assert len(page.encode()) < most
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    tags = Tags(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name in ("src", "href") or name.startswith("on")]
    assert "default-src 'none'" in page


def test_names_are_only_text():
    page = xor(title=NASTY, features=[NASTY, NASTY], outputs=[NASTY]).html()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert data_of(page)["columns"][0]["labels"] == [NASTY, NASTY]


@pytest.mark.parametrize("explanation", [xor, cancer, large, deep])
def test_network_is_no_tangle_and_holds_the_strongest_units(explanation):
    explanation = explanation()
    data = data_of(explanation.html())
    assert all(len(column["units"]) <= 10 for column in data["columns"])
    assert [column["count"] for column in data["columns"]] == explanation.chain.sizes()
    for number, column in enumerate(data["columns"][1:], 1):
        dz = explanation[f"dL/dZ{number}"].tensor
        shown = dz[:, column["units"]]
        torch.testing.assert_close(torch.tensor(data["tensors"][f"dL/dZ{number}"]), shown.float(), rtol=1e-4, atol=0)
        others = [unit for unit in range(dz.shape[1]) if unit not in column["units"]]
        assert not others or dz.abs().sum(0)[others].max() <= shown.abs().sum(0).min()


def test_rates_are_real_losses_and_their_minimum():
    explanation = xor()
    rates = data_of(explanation.html())["rates"]
    for rate, loss in rates["points"]:
        assert explanation.loss_after(rate) == pytest.approx(loss, rel=1e-4)
    assert rates["points"][rates["chosen"]] == [1.0, pytest.approx(explanation.new_loss, rel=1e-5)]
    assert rates["points"][rates["minimum"]][1] == min(loss for _, loss in rates["points"])
    best = rates["points"][rates["minimum"]][0]
    assert explanation.loss_after(best) <= min(explanation.loss_after(best * f) for f in (0.98, 1.02))


def test_without_a_gradient_there_is_no_curve():
    net = torchbp.nn.MLP(2, 4, 1)
    with torch.no_grad():
        [p.zero_() for p in net.parameters()]
    rates = data_of(torchbp.explain(net, *XOR).html())["rates"]
    assert rates == {"points": [], "chosen": None, "minimum": None}


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize(
    "loss", [torch.nn.BCEWithLogitsLoss(), torch.nn.MSELoss(), torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))]
)
def test_equations_are_well_formed_mathml(activation, loss):
    explanation = torchbp.explain(torchbp.nn.MLP(2, 3, 1, activation=activation), *XOR, loss=loss)
    for record in explanation.records:
        root = ElementTree.fromstring(mathml.math(record.equation, {"X": (4, 2)}))
        assert root.get("alttext") == record.equation
        words = set("".join(root.itertext()))
        kept = set(record.equation.replace("dL/d", "∂L∂")) - set(" /ᵀ²ₙΣ")
        assert kept <= words | {"−"}, kept - words
        if record.rule:
            ElementTree.fromstring(mathml.rule(record.rule))


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_colours_are_legible_in_light_and_dark():
    light, dark = re.split(r"prefers-color-scheme: dark", read(STYLES))
    found = [dict(re.findall(r"--([\w-]+): (#\w{6})", scheme)) for scheme in (light, dark)]
    for colours in found:
        for behind in ("back", "card", "soft"):
            assert min(contrast(colours[name], colours[behind]) for name in ("text", "muted")) >= 4.5
            assert min(contrast(colours[name], colours[behind]) for name in ("positive", "negative", "lit")) >= 3
        assert contrast(colours["lit"], colours["lit-text"]) >= 4.5


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no chromium and no google-chrome on the PATH")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browse(browser, tmp_path):
    """Opens the page of an explanation. At the end its console must be empty, and nothing else have been asked for."""
    page = tmp_path / "explanation.html"

    def browse(explanation, **settings):
        page.write_text(explanation.html(), encoding="utf-8")
        browser.open(page, **settings)
        return browser

    yield browse
    assert browser.console == []
    assert browser.requests == [page.as_uri()]


def shown(browser):
    """The record whose card is shown, by the place in the order."""
    cards = browser.evaluate(
        "[...document.querySelectorAll('.step')].map((s, i) => s.offsetParent ? i : -1).filter(i => i >= 0)"
    )
    assert len(cards) == 1
    return cards[0]


def test_keys_and_buttons_step_through_the_passes(browse):
    explanation = xor()
    browser = browse(explanation)
    count = len(explanation.records)
    assert shown(browser) == 0
    assert browser.text("#at") == f"1 of {count}"
    browser.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert shown(browser) == 2
    browser.press("End")
    assert shown(browser) == count - 1
    browser.press("ArrowRight")
    assert shown(browser) == count - 1
    browser.press("Home")
    browser.click("#next")
    assert shown(browser) == 1
    for number, stage in enumerate(["forward", "loss", "backward", "update", "again"], 1):
        browser.click(f".jumps button:nth-child({number})")
        assert explanation.records[shown(browser)].stage == stage
        assert browser.evaluate("document.querySelector('[aria-current]').dataset.stage") == stage
    browser.press("Home")
    for place, record in enumerate(explanation.records):
        assert shown(browser) == place
        said = browser.evaluate("document.getElementById('now').textContent")
        assert record.equation in said
        assert record.why in said
        if record.numbers:
            assert record.numbers.replace("dL/d", "∂L/∂") in browser.text(".step.shown")
        browser.press("ArrowRight")


def known(browser):
    """What the units show, column by column."""
    return browser.evaluate(
        """(() => { const all = {}; for (const u of document.querySelectorAll('#network .unit'))
        (all[u.querySelector('rect').getAttribute('x')] ??= []).push(
          [...u.querySelectorAll('rect ~ text')].map(t => t.textContent));
        return Object.values(all); })()"""
    )


def test_network_lights_up_forward_and_then_backward(browse):
    explanation = xor()
    browser = browse(explanation)
    at = {record.name: place for place, record in enumerate(explanation.records)}

    def go(name):
        browser.press("Home", *["ArrowRight"] * at[name])
        return known(browser)

    first, hidden, last, loss = go("A1")
    assert [top for top, _ in hidden] == [f"{v:.3g}" for v in explanation["A1"].tensor[0].tolist()]
    assert [last, loss] == [[["·", ""]], [["·"]]]
    assert [top for top, _ in first] == ["0", "0"]
    *_, last, loss = go("L")
    assert loss == [[f"{explanation.loss:.4g}"]]
    assert last == [[f"{explanation['A2'].tensor[0].item():.3g}", ""]]
    _, hidden, last, _ = go("dL/dZ2")
    assert [bottom for _, bottom in hidden] == [""] * 4
    assert last[0][1] == f"∂ {explanation['dL/dZ2'].tensor[0].item():.3g}".replace("-", "−")
    _, hidden, *_ = go("dL/dA1")
    assert hidden[0][1] == f"∂ {explanation['dL/dA1'].tensor[0, 0].item():.3g}".replace("-", "−")
    browser.click("#rows label:nth-of-type(3) input")
    assert known(browser)[0] == [["1", ""], ["0", ""]]
    browser.evaluate("document.activeElement.blur()")  # of the row, whose arrows are its own
    *_, loss = go("L′")
    assert loss == [[f"{explanation.new_loss:.4g}"]]


def tiles(browser):
    numbers = browser.evaluate("[...document.querySelectorAll('#chain .tile b')].map(b => b.textContent)")
    return [float(number.replace("−", "-")) for number in numbers]


def check_product(browser, expected):
    *factors, result = tiles(browser)
    assert len(factors) >= 2
    product = torch.tensor(factors, dtype=torch.float64).prod().item()
    assert product == pytest.approx(result, rel=2e-3)
    assert result == pytest.approx(expected, rel=1e-3)


def test_pointing_at_a_unit_or_a_weight_shows_its_chain_of_factors(browse):
    explanation = cancer()
    browser = browse(explanation)
    columns = data_of(explanation.html())["columns"]
    unit, below = columns[1]["units"][2], columns[0]["units"][5]
    browser.hover(f"#network .unit[aria-label^='Unit {unit + 1} of layer 1,'] rect")
    assert browser.text("#chain h3") == f"Unit {unit + 1} of layer 1"
    check_product(browser, explanation["dL/dZ1"].tensor[0, unit].item())
    label = f"W1[{unit + 1},{below + 1}]"
    browser.hover(f"#network .link[aria-label^='{label} '] .edge", share=0.3)
    if label not in browser.text("#chain h3"):  # another weight lies over it there
        browser.evaluate(f"document.querySelector(\"#network .link[aria-label^='{label} ']\").focus()")
    assert label in browser.text("#chain h3")
    check_product(browser, explanation["dL/dW1"].tensor[unit, below].item())
    browser.hover("#network .unit[aria-label^='Unit 1 of layer 2'] rect")
    check_product(browser, explanation["dL/dZ2"].tensor[0, 0].item())


def test_rows_add_up_to_the_weights_gradient(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("document.querySelector(\"#network .link[aria-label^='W1[2,2] ']\").focus()")
    text = browser.text("#chain p")
    assert text.startswith("∂L/∂W1[2,2] = ")
    total = explanation["dL/dW1"].tensor[1, 1].item()
    assert float(text.split(" = ")[-1].replace("−", "-")) == pytest.approx(total, rel=1e-3)
    terms = text.split(" = ")[1].replace("−", "-").replace("·", "*")
    assert eval(terms) == pytest.approx(total, abs=2e-6)


def test_network_is_walked_through_with_the_keyboard(browse):
    browser = browse(xor())
    focused = lambda: browser.evaluate("document.activeElement.getAttribute('aria-label')")  # noqa: E731
    browser.evaluate("document.querySelector('#network .unit').focus()")
    assert focused().startswith("Input 1, X 0")
    browser.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert focused().startswith("Unit 2 of layer 1, Z1 ")
    browser.press("Enter", "ArrowDown")
    assert focused().startswith("W1[2,2] ")
    browser.press("Escape", "ArrowUp")
    assert focused().startswith("Unit 1 of layer 1")
    assert browser.text("#chain h3") == "Unit 1 of layer 1, row 1"
    browser.press("ArrowRight")
    assert shown(browser) == 1


def test_slider_shows_the_real_loss_of_each_rate(browse):
    explanation = xor()
    browser = browse(explanation)
    assert browser.text("#after") == f"α = 1: the loss goes from {explanation.loss:.4g} to {explanation.new_loss:.4g}"
    browser.evaluate("document.getElementById('rate').focus()")
    place = browser.evaluate("document.querySelector('#curve .here').getAttribute('cx')")
    browser.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert shown(browser) == 0  # the slider has its own arrows
    points = data_of(explanation.html())["rates"]["points"]
    rate, loss = points[int(browser.evaluate("document.getElementById('rate').value"))]
    assert rate > 1
    assert browser.text("#after").startswith(
        f"α = {rate:.3g}: the loss goes from {explanation.loss:.4g} to {loss:.4g}"[:-1]
    )
    assert float(browser.evaluate("document.querySelector('#curve .here').getAttribute('cx')")) > float(place)
    best = min(points, key=lambda point: point[1])
    assert f"at α = {best[0]:.3g}" in browser.text("#best")
    assert browser.evaluate("document.querySelectorAll('#curve .best').length") == 1


@pytest.mark.parametrize("explanation", [xor, cancer, large, deep])
@pytest.mark.parametrize("width", [400, 1280])
def test_page_fits_any_width(browse, explanation, width):
    browser = browse(explanation(), width=width)
    for key in ("End", "Home"):
        browser.press(key)
        assert browser.evaluate("document.documentElement.scrollWidth") == width
    left = browser.evaluate(
        "['#network-card', '#steps'].map(s => Math.round(document.querySelector(s).getBoundingClientRect().left))"
    )
    assert (left[0] == left[1]) == (width == 400)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('#network text')].map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert min(sizes) >= 10
    browser.resize(1000, 900)
    assert browser.evaluate("document.documentElement.scrollWidth") == 1000


def test_deep_network_scrolls_to_the_layer_of_the_step(browse):
    browser = browse(deep(), width=400)
    places = [browser.evaluate("document.getElementById('network').scrollLeft")]
    for number in (2, 3):  # the loss, and the first derivatives
        browser.click(f".jumps button:nth-child({number})")
        places.append(browser.evaluate("document.getElementById('network').scrollLeft"))
    assert places[0] < places[2] <= places[1]


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_page_is_light_or_dark(browse, scheme, dark):
    browser = browse(xor(), scheme=scheme)
    colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", colour))) < 60) == dark


def test_print_and_a_browser_without_scripts_show_every_step(browse):
    explanation = xor()
    visible = "[...document.querySelectorAll('.step')].filter(s => s.offsetParent).length"
    browser = browse(explanation)
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(visible) == len(explanation.records)
    assert browser("Page.printToPDF")["data"]
    browser("Emulation.setEmulatedMedia", media="")
    browser("Emulation.setScriptExecutionDisabled", value=True)
    browser("Page.reload")
    browser.events.clear()
    while "Page.loadEventFired" not in browser.events:
        browser.receive()
    browser("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate(visible) == len(explanation.records)
    browser.requests = browser.requests[:1]


def test_screen_reader_hears_names_of_everything(browse):
    browser = browse(xor())
    browser("Accessibility.enable")
    nodes = [n for n in browser("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes]
    browser("Accessibility.disable")
    assert all(name for role, name in named if role in ("button", "slider", "radio", "img", "image"))
    assert {"One step back", "One step on", "Forward", "Backward"} <= {name for role, name in named if role == "button"}
    assert ("slider", "learning rate") in named
    assert any(role in ("MathMLMath", "math") for role, _ in named)
    assert sum(role in ("img", "image") for role, _ in named) >= 12  # the weights
    assert any(role == "status" for role, _ in named)


def test_notebook_shows_the_same(browser, tmp_path):
    page = tmp_path / "notebook.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'>{xor(title=NASTY)._repr_html_()}", encoding="utf-8")
    browser.open(page)
    assert browser.console == []
    assert browser.requests == [page.as_uri()]
    assert len(set(browser.screenshot(whole=False))) > 100
