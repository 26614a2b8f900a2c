"""What a browser makes of the page, driven with keys and mouse as a user would."""

import math
import re

import pytest
import torch

import torchbp
from tests.explanation.samples import NASTY, cancer, data_of, deep, large, named_xor, xor
from torchbp.explanation.notation.records import equation_text, sentence
from torchbp.explanation.render.plain_text import partial


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


def test_each_record_is_said_and_shown(browse):
    explanation = xor()
    found = browse(explanation).evaluate(
        """cards.map((_, step) => (go(step), [document.getElementById("now").textContent,
        document.querySelector(".step.shown").innerText]))"""
    )
    for record, (said, seen) in zip(explanation.records, found, strict=True):
        assert equation_text(record, partial) in said
        assert sentence(record.reason, partial).removesuffix(".") in said
        if record.numbers:
            assert record.example.text(partial) in seen


def known(browser):
    """What the units show, column by column."""
    return browser.evaluate(
        """(() => { const all = new Map();
        for (const u of document.querySelectorAll('#network .unit')) {
          const x = u.querySelector('rect').getAttribute('x');
          all.set(x, [...(all.get(x) ?? []), [...u.querySelectorAll('rect ~ text')].map(t => t.textContent)]);
        }
        return [...all.values()]; })()"""
    )


def test_network_lights_up_forward_and_then_backward(browse):
    explanation = xor()
    browser = browse(explanation)
    at = {record.name: place for place, record in enumerate(explanation.records)}

    def go(name):
        browser.evaluate(f"go({at[name]})")
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
    """Of the last product in the panel."""
    numbers = browser.evaluate(
        "[...[...document.querySelectorAll('#chain .tiles')].at(-1).querySelectorAll('b')].map(b => b.textContent)"
    )
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
    columns = data_of(explanation.to_html())["columns"]
    unit, below = columns[1]["units"][2], columns[0]["units"][5]
    browser.evaluate("show(data.steps.findIndex(({ name }) => name === 'dL/dW1'))")
    browser.hover(f"#network .unit[aria-label^='Unit {unit + 1} of layer 1,'] rect")
    assert browser.text("#chain h3") == f"Unit {unit + 1} of layer 1"
    check_product(browser, explanation["dL/dZ1"].tensor[0, unit].item())
    label = f"W1[{unit + 1},{below + 1}]"
    browser.evaluate("show(cards.length - 1)")
    browser.hover(f"#network .link[aria-label^='W1′{label[2:]} '] .edge", share=0.3)
    if label not in browser.text("#chain h3"):  # another weight lies over it there
        browser.evaluate(f"document.querySelector(\"#network .link[aria-label^='W1′{label[2:]} ']\").focus()")
    assert label in browser.text("#chain h3")
    check_product(browser, explanation["dL/dW1"].tensor[unit, below].item())
    browser.hover("#network .unit[aria-label^='Unit 1 of layer 2'] rect")
    check_product(browser, explanation["dL/dZ2"].tensor[0, 0].item())


def test_a_weight_of_a_sure_answer_has_factors_whose_product_is_right(browse):
    """The slope of σ is 4e−18 there, and the product of ∂L/∂A2 and it far from ∂L/∂Z2."""
    net = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    torch.nn.init.constant_(net[2].bias, 40)
    explanation = torchbp.explain(net, [1.0, 1.0], [0.0])
    browser = browse(explanation)
    browser.evaluate("(show(cards.length - 1), links[2][0][0].focus())")
    check_product(browser, explanation["dL/dW2"].tensor[0, 0].item())


def test_losses_that_are_no_numbers_are_left_out(browse):
    """MSE with a step far too long: inf."""
    net = torchbp.nn.MLP(2, 4, 1, activation="relu")
    browser = browse(torchbp.explain(net, 1e4 * torch.ones(2), [1.0], lr=1e9, loss=torch.nn.MSELoss()))
    browser.press("End")
    assert known(browser)[-1] == [["not finite"]]
    assert browser.text("#after").endswith("to not finite")


def test_rows_add_up_to_the_weights_gradient(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("(show(cards.length - 1), links[1][1][1].focus())")
    lines = browser.evaluate("[...document.querySelectorAll('#chain p')].map((p) => p.textContent)")
    (text,) = (line for line in lines if line.startswith("∂L/∂W1[2,2] = "))
    total = explanation["dL/dW1"].tensor[1, 1].item()
    assert float(text.split(" = ")[-1].replace("−", "-")) == pytest.approx(total, rel=1e-3)
    terms = text.split(" = ")[1].replace("−", "-").replace("·", "*")
    assert eval(terms) == pytest.approx(total, abs=2e-6)


def cancelling():
    """The terms of Z1, of the last gradient and of the sums over rows are thousands of times what is left of them."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1)).double()
    with torch.no_grad():
        for parameter, numbers in zip(
            net.parameters(), ([[12.34567, -12.34517], [0.3, 0.4]], [0.0001, 0], [[0.5, -0.7]], [0.001]), strict=True
        ):
            parameter.copy_(torch.tensor(numbers))
    return torchbp.explain(net, [[1, 1], [1.0002, 1]], [[0.0], [1.0]])


def wide():
    """More rows, and more units in each layer, than the page draws."""
    torch.manual_seed(4)
    net = torchbp.nn.MLP(13, 12, 11, dtype=torch.float64)
    return torchbp.explain(net, torch.randn(10, 13), torch.rand(10, 11), loss=torch.nn.MSELoss())


@pytest.mark.parametrize("explanation", [cancelling, xor, cancer, deep, wide])
def test_every_sum_of_a_chain_is_true_as_it_is_printed(browse, explanation):
    explanation = explanation()
    browser, sizes = browse(explanation), explanation.chain.sizes
    browser.press("End")
    texts = browser.evaluate(
        """columns.flatMap((of, column) => of.units.flatMap((_, unit) => [...unitChain(column, unit),
        ...(column ? columns[column - 1].units.flatMap((_, from) => edgeChain(column, unit, from)) : [])]))
        .flatMap((e) => [e, ...e.querySelectorAll("p")]).filter((e) => e.tagName === "P").map((e) => e.textContent)"""
    )
    sums = [text.split(" = ") for text in texts if "·" in text and not re.match("W|∂L/∂Z", text)]
    assert len(sums) > 10
    for name, *_, terms, total in sums:
        of, layer = re.match(r"(?:∂L/∂)?([A-Z])(\d?)", name).groups(default="0")
        layer = int(layer or 0)  # of X
        above = (*sizes, 0)[layer + 1]
        count = {"Z": sizes[layer - 1], "W": len(explanation.values["X"]), "A": above, "X": above}[of]
        more = re.search(r"\[(\d+) more", terms)
        if name[:1] != "∂" or layer < len(sizes) - 1:  # the first derivative is of the loss's own equation
            assert terms.count("·") + (int(more[1]) if more else 0) == count, f"{name} = {terms}"
        terms = re.sub(r"\[\d+ more: ([^]]*)\]", r"(\1)", terms).replace("·", "*")
        assert eval(terms.replace("−", "-")) == pytest.approx(float(total.replace("−", "-")), rel=1e-2), terms


FORMATS = {  # the text of a number, in four digits and in two
    "0": ("0", "0"),
    "0.001": ("0.001", "0.001"),
    "0.00099949": ("0.0009995", "0.001"),
    "-123.45678": ("−123.5", "−120"),
    "99940": ("9.994e+04", "1e+05"),
    "123456": ("1.235e+05", "1e+05"),
    "-1e-40": ("−1e−40", "−1e−40"),
    "null": ("not finite", "not finite"),
}


def test_numbers_of_the_script(browse):
    browser = browse(xor())
    formats = {n: tuple(browser.evaluate(f"[format({n}), format({n}, 2)]")) for n in FORMATS}
    assert formats == FORMATS


@pytest.mark.parametrize(("width", "strong"), [(400, 8), (1280, 24)])
def test_edges_and_units_show_sign_and_size(browse, width, strong):
    """Strong weights are drawn in full, the thicker the larger; more of them would be a tangle."""
    browser = browse(cancer(), width=width)
    edges = browser.evaluate(
        """links[1].flatMap((row, unit) => row.map((link, from) => {
        const edge = link.lastElementChild;
        return [tensors.W1[unit][from], edge.getAttribute('class'), parseFloat(edge.style.strokeWidth || 0)]; }))"""
    )
    assert all(("negative" in kind) == (value < 0) for value, kind, _ in edges)
    drawn = sorted((abs(value), thick) for value, kind, thick in edges if "weak" not in kind)
    assert len(drawn) == strong + 1
    assert drawn[0][0] >= max(abs(value) for value, kind, _ in edges if "weak" in kind)
    assert [thick for _, thick in drawn] == sorted(thick for _, thick in drawn)
    assert drawn[0][1] < drawn[-1][1]
    hues = browser.evaluate(
        "units[0].map(({ rect }, i) => [tensors.X[0][i], rect.style.getPropertyValue('--hue'), "
        "parseInt(rect.style.getPropertyValue('--share'))])"
    )
    assert all(hue == f"var(--{'negative' if value < 0 else 'positive'})" for value, hue, _ in hues)
    most = max(abs(value) for value, *_ in hues)
    assert [share for *_, share in hues] == [pytest.approx(18 * abs(value) / most, abs=0.51) for value, *_ in hues]


def test_the_curve_is_drawn_over_a_logarithm_and_cut_off_above(browse):
    explanation = xor()
    browser = browse(explanation)
    places = browser.evaluate("points.map(([rate, loss], i) => [rate, loss, ...scale(i)])")
    (low, _, left, _), (high, _, right, _) = places[0], places[-1]
    for rate, _, x, _ in places:
        share = math.log(rate / low) / math.log(high / low)
        assert x == pytest.approx(left + share * (right - left), abs=0.1)
    best = min(places, key=lambda place: place[1])
    shown = [(loss, y) for _, loss, _, y in places if y > 0]
    assert max(loss for loss, _ in shown) <= explanation.loss + 1.4 * (explanation.loss - best[1])
    assert min(loss for _, loss, _, y in places if y < 16) >= explanation.loss + 1.1 * (explanation.loss - best[1])
    assert sorted(shown, reverse=True) == sorted(shown, key=lambda pair: pair[1])  # the larger, the higher


def test_network_is_walked_through_with_the_keyboard(browse):
    browser = browse(xor())
    focused = lambda: browser.evaluate("document.activeElement.getAttribute('aria-label')")  # noqa: E731
    browser.evaluate("document.querySelector('#network .unit').focus()")
    assert focused().startswith("Input 1, X: 1 0")
    browser.press("ArrowDown", "ArrowDown", "ArrowDown")
    assert focused().startswith("Unit 2 of layer 1, Z1: 2 ")
    browser.press(" ", "ArrowDown")
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
    points = data_of(explanation.to_html())["rates"]["points"]
    rate, loss = points[int(browser.evaluate("document.getElementById('rate').value"))]
    assert rate > 1
    assert browser.text("#after").startswith(
        f"α = {rate:.3g}: the loss goes from {explanation.loss:.4g} to {loss:.4g}"[:-1]
    )
    assert float(browser.evaluate("document.querySelector('#curve .here').getAttribute('cx')")) > float(place)
    best = min(points, key=lambda point: point[1])
    assert f"at α = {best[0]:.3g}" in browser.text("#best")
    assert browser.evaluate("document.querySelectorAll('#curve .best').length") == 1


def test_slider_of_the_longest_step(browse):
    torch.manual_seed(0)
    browser = browse(torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), [1.0, 1.0], [1.0], lr=1e308))
    assert browser.text("#best").startswith("The loss falls to the end of the scale, α = 1.8e+308")
    assert not browser.evaluate("/NaN|Infinity/.test(document.body.querySelector('main').outerHTML)")


def test_without_a_gradient_the_slider_says_why(browse):
    net = torchbp.nn.MLP(2, 4, 1)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    browser = browse(torchbp.explain(net, [1.0, 1.0], [1.0]))
    assert browser.text("#after") == "All parameters are frozen: no step changes them."
    assert browser.evaluate("document.getElementById('rate').disabled")


@pytest.mark.parametrize("explanation", [xor, cancer, large, deep])
@pytest.mark.parametrize("width", [400, 1280])
def test_page_fits_any_width(browse, explanation, width):
    browser = browse(explanation(), width=width)
    wide = ["document.documentElement"]
    if not browser.evaluate("columns.length") > (3 if width == 400 else 4):  # of more layers the drawing scrolls
        wide.append("document.getElementById('network')")
    for key in ("End", "Home"):
        browser.press(key)
        for e in wide:
            assert browser.evaluate(f"{e}.scrollWidth <= {e}.clientWidth"), e
    assert browser.evaluate("document.documentElement.clientWidth") < width  # beside a scrollbar
    left = browser.evaluate(
        "['#network-card', '#steps'].map(s => Math.round(document.querySelector(s).getBoundingClientRect().left))"
    )
    assert (left[0] == left[1]) == (width == 400)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('#network text')].map(t => parseFloat(getComputedStyle(t).fontSize))"
    )
    assert min(sizes) >= 12
    browser.resize(1000, 900)
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def sure():
    """The last loss of its curve is 1e−100 or less."""
    torch.manual_seed(0)
    return torchbp.explain(torch.nn.Linear(3, 1).double(), 3 * torch.randn(3), [1.0], lr=0.5)


@pytest.mark.parametrize("explanation", [xor, cancer, sure])
@pytest.mark.parametrize("width", [400, 1280])
def test_numbers_of_the_curve_are_whole(browse, explanation, width):
    browser = browse(explanation(), width=width)
    outside = """(() => { const { left, right } = document.querySelector("#curve svg").getBoundingClientRect();
        return [...document.querySelectorAll("#curve text")].map((t) => [t.textContent, t.getBoundingClientRect()])
          .filter(([, t]) => t.left < left || t.right > right); })()"""
    assert browser.evaluate(outside) == []


@pytest.mark.parametrize(
    "loss", [torch.nn.BCEWithLogitsLoss(torch.ones(1), pos_weight=torch.ones(1)), torch.nn.MSELoss()]
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_equations_fit_their_cards(without_checks, browse, loss, outputs):
    net, y = torchbp.nn.MLP(30, 16, outputs), torch.ones(outputs)
    browser = browse(torchbp.explain(net, torch.ones(30), y, loss=loss), width=400)
    wide = "[...document.querySelectorAll('.step.shown .equation')].filter(e => e.scrollWidth > e.clientWidth).length"
    for width in (400, 1280):
        browser.resize(width, 900)
        assert browser.evaluate(f"cards.map((_, step) => (show(step), {wide})).every(count => count === 0)")


@pytest.mark.parametrize("width", [400, 1280])
def test_names_stay_clear_of_edges_and_of_other_columns(browse, width):
    """Each label has a halo of the card's colour, or fits over its box, and reaches no other column."""
    browser = browse(cancer(), width=width)
    labels = browser.evaluate(
        """[...document.querySelectorAll('#network .unit')].filter(u => u.querySelector('rect ~ text'))
        .map(u => [u.querySelector('text'), u.querySelector('rect')]).map(([t, r]) => {
          const a = t.getBoundingClientRect(), b = r.getBoundingClientRect(), s = getComputedStyle(t);
          return [a.left - b.right, a.right - b.right, s.paintOrder.startsWith('stroke'), parseFloat(s.strokeWidth)];
        })"""
    )
    gap = browser.evaluate(
        """(() => { const [a, b] = [0, 1].map(i => units[i][0].rect.getBoundingClientRect());
        return b.left - a.right; })()"""
    )
    for left, right, behind, stroke in labels:
        assert left < 0
        assert right < gap - 1
        assert behind
        assert stroke >= 3
    assert width == 400 or max(right for _, right, *_ in labels[:8]) <= 8  # over its box


@pytest.mark.parametrize("width", [400, 1280])
def test_numbers_fit_their_boxes(browse, width):
    net = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    with torch.no_grad():
        net[0].bias.fill_(-450)  # A1 is 1e−196
        net[2].weight.fill_(-0.5)
    browser = browse(torchbp.explain(net, [1.0, 2.0], [1.0]), width=width)
    browser.press("End")
    over = """[...document.querySelectorAll('#network rect ~ text')].filter((t) => t.getBoundingClientRect().width >
      t.parentNode.querySelector('rect').getBoundingClientRect().width - 4).map((t) => t.textContent)"""
    assert browser.evaluate(over) == []


@pytest.mark.parametrize("width", [400, 1280])
def test_drawing_follows_its_room(browse, width):
    """A scrollbar, a zoom or a panel beside changes the room of the card without changing the window."""
    browser = browse(xor(), width=width)
    browser.evaluate("document.querySelector('#network .unit').focus()")
    browser.evaluate("document.body.style.paddingRight = '60px'")
    browser.screenshot(whole=False)  # after the next frame
    assert browser.evaluate("network.scrollWidth <= network.clientWidth") or width == 400
    assert browser.evaluate("room === network.clientWidth && document.activeElement.matches('#network .unit')")


def test_deep_network_is_whole_on_paper(browse):
    browser = browse(deep())
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("network.scrollWidth <= network.clientWidth")
    browser("Emulation.setEmulatedMedia", media="")


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
    browser.press("ArrowRight")
    browser("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(visible) == len(explanation.records)
    assert browser("Page.printToPDF")["data"]
    browser("Emulation.setEmulatedMedia", media="")
    assert shown(browser) == 1  # as before the printing
    browser("Emulation.setScriptExecutionDisabled", value=True)
    browser("Page.reload")
    browser.events.clear()
    while "Page.loadEventFired" not in browser.events:
        browser.receive()
    browser("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate(visible) == len(explanation.records)
    assert not browser.evaluate("[...document.querySelectorAll('button, input, .left')].some(e => e.offsetParent)")
    browser.requests = browser.requests[:1]


def test_keyboard_alone_reaches_everything_and_is_seen(browse):
    browser = browse(xor())
    found = []
    for _ in range(21):
        browser.press("Tab")
        found += browser.evaluate(
            """(() => { const e = document.activeElement, s = getComputedStyle(e.querySelector?.('rect') ?? e);
            return [[e.id || e.className.baseVal || e.value || e.textContent,
              s.outlineStyle === 'solid' || parseFloat(s.strokeWidth) >= 3]]; })()"""
        )
    names = [name for name, _ in found]
    assert names.pop(0) == "Follow it"
    assert names[:8] == ["Forward", "Loss", "Backward", "Update", "Again", "examine", "next", "0"]  # the row
    assert names[8].startswith("unit")
    assert names[9:16] == ["Follow it", "one", "play", "again", "speed", "alpha", "time"]
    assert names[16:] == ["compare", "Ask the network about another row", "Change the numbers", "rate"]
    assert all(seen for _, seen in found)


def test_screen_reader_hears_names_of_everything(browse):
    browser = browse(xor())
    browser("Accessibility.enable")
    nodes = [n for n in browser("Accessibility.getFullAXTree")["nodes"] if not n["ignored"]]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes]
    browser("Accessibility.disable")
    assert all(name for role, name in named if role in ("button", "slider", "radio", "img", "image", "table"))
    assert ("heading", "Z1, 4×4") in named
    assert {"One step back", "One step on", "Forward", "Backward"} <= {name for role, name in named if role == "button"}
    assert {("slider", "learning rate"), ("slider", "step of the training")} <= set(named)
    assert any(role in ("MathMLMath", "math") for role, _ in named)
    assert sum(role in ("img", "image") for role, _ in named) >= 12  # the weights
    assert any(role == "status" for role, _ in named)


def test_notebook_shows_the_same(browser, tmp_path):
    page = tmp_path / "notebook.html"
    page.write_text(f"<!doctype html><meta charset='utf-8'>{named_xor(title=NASTY)._repr_html_()}", encoding="utf-8")
    browser.open(page)
    assert browser.console == []
    assert browser.requests == [page.as_uri()]
    assert len(set(browser.screenshot(whole=False))) > 100
