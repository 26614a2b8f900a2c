"""The page: what stands in it, and that it needs nothing else."""

import json
import math
import re
from collections import OrderedDict
from xml.etree import ElementTree

import pytest
import torch

import torchbp
from tests.explanation.samples import CONTROLS, NASTY, VISIBLE, XOR, cancer, data_of, deep, large, named_xor, xor
from tests.pages import Page, contrast
from torchbp.explanation.notation.quantities import Quantity
from torchbp.explanation.notation.records import Record, equation_text
from torchbp.explanation.render import mathml, text
from torchbp.explanation.render.html.cards import table
from torchbp.explanation.render.html.page import read, style
from torchbp.explanation.render.html.smaller import smaller_script, smaller_style
from torchbp.explanation.render.html.step_curve import curve
from torchbp.explanation.render.plain_text import partial


@pytest.mark.parametrize(
    ("explanation", "most"), [(xor, 150_000), (cancer, 300_000), (large, 2_000_000), (deep, 500_000)]
)
def test_page_is_small_and_needs_nothing_else(explanation, most):
    page = explanation().to_html()
    assert len(page.encode()) < most
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    tags = Page(page).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name in ("src", "href") or name.startswith("on")]
    assert "default-src 'none'" in page


def test_names_are_only_text():
    page = named_xor(title=NASTY, features=[NASTY, NASTY], outputs=[NASTY]).to_html()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert data_of(page)["columns"][0]["labels"] == [NASTY, NASTY]


def test_names_that_a_terminal_or_a_browser_would_obey_are_shown_escaped_everywhere():
    """JSON has its own escapes: there the names are what they are."""
    layers = OrderedDict([(f"{CONTROLS}a", torch.nn.Linear(2, 2)), (f"{CONTROLS}b", torch.nn.Linear(2, 1))])
    net = torch.nn.Sequential(layers)
    names = {"title": f"{CONTROLS}t", "features": [f"{CONTROLS}x", "naïve ∂ 😀"], "outputs": [f"{CONTROLS}y"]}
    explanation = torchbp.explain(net, *XOR, **names)
    text, page, written = str(explanation), explanation.to_html(), explanation.to_json()
    assert all(line.isprintable() for shown in (text, page, written) for line in shown.split("\n"))
    assert f"explain  {VISIBLE}t" in text
    assert f"W1 (2×2), {VISIBLE}a.weight" in text
    assert page.count(f"{VISIBLE}t<") == 2
    assert f"<b>{VISIBLE}b</b>" in page
    columns = data_of(page)["columns"]
    assert columns[0]["labels"] == [f"{VISIBLE}x", "naïve ∂ 😀"]
    assert columns[1]["layer"] == f"{VISIBLE}a"
    assert columns[2]["labels"] == [f"{VISIBLE}y"]
    written = json.loads(written)
    assert {name: written[name] for name in names} == names
    assert written["records"][0]["layer"] == f"{CONTROLS}a"
    assert "naïve ∂ 😀" in explanation.to_json()


def test_derivatives_are_written_with_partial_signs_wherever_they_are_read():
    """In the terminal dL/dW1 is plainer; the page's script, and the names for a screen reader, keep it."""
    net = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    torch.nn.init.constant_(net[2].bias, 40)
    page = torchbp.explain(net, *XOR).to_html()
    assert "would not learn here" in page
    assert "dL/d" not in re.sub(r"<script.*?</script>|<[^>]*>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("explanation", [xor, cancer, large, deep])
def test_network_is_no_tangle_and_holds_the_strongest_units(explanation):
    explanation = explanation()
    data = data_of(explanation.to_html())
    assert all(len(column["units"]) <= 10 for column in data["columns"])
    assert [column["count"] for column in data["columns"]] == explanation.chain.sizes
    for number, column in enumerate(data["columns"][1:], 1):
        dz = explanation[f"dL/dZ{number}"].tensor
        shown = dz[:, column["units"]]
        others = [unit for unit in range(dz.shape[1]) if unit not in column["units"]]
        assert not others or dz.abs().sum(0)[others].max() <= shown.abs().sum(0).min()


@pytest.mark.parametrize(("units", "drawn"), [(10, 10), (11, 8)])
def test_layers_of_more_than_ten_units_are_drawn_by_eight(units, drawn):
    net = torchbp.nn.MLP(2, units, 1, dtype=torch.float64)
    data = data_of(torchbp.explain(net, torch.randn(9, 2), torch.ones(9, 1)).to_html())
    assert len(data["columns"][1]["units"]) == drawn
    assert (data["rows"], data["count"]) == (8, 9)


def test_where_nothing_learns_the_largest_units_are_drawn():
    net = torchbp.nn.MLP(1, 20, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.copy_(torch.arange(20).reshape(20, 1)), net[0].bias.zero_(), net[2].weight.zero_()
    assert data_of(torchbp.explain(net, [1.0], [1.0]).to_html())["columns"][1]["units"] == list(range(12, 20))


def test_numbers_of_the_page_have_seven_digits():
    """Of a network that the page does not compute."""
    data = data_of(large().to_html())
    for number, column in enumerate(data["columns"][1:], 1):
        shown, found = large()[f"Z{number}"].tensor[:, column["units"]], data["tensors"][f"Z{number}"]
        assert found == [[float(f"{value:.7g}") for value in row] for row in shown.tolist()]
    assert "tensors" not in data_of(xor().to_html())


@pytest.mark.parametrize(
    ("shape", "caption", "cells"),
    [
        ((8, 7), "", [[7 * row + column for column in range(7)] for row in range(8)]),
        ((2, 9), "2×9, from 0 to 17; only its corners", [[0, 1, None, 8], [9, 10, None, 17]]),
        ((9, 2), "9×2, from 0 to 17; only its corners", [[0, 1], [2, 3], [None, None], [16, 17]]),
        ((9,), "9, from 0 to 8; only its ends", [[0, 1, None, 8]]),
    ],
)
def test_tables_are_whole_or_show_their_corners(shape, caption, cells):
    tensor = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    found = table(Record(Quantity("W", 1), "update", "update", 1, "", (), tensor, has_rows=False))
    assert [re.sub("<.*?>", "", text) for text in re.findall("<caption>(.*?)</caption>", found)] == [caption][
        : bool(caption)
    ]
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", found)]
    assert rows == [["⋯" if cell is None else str(cell) for cell in row] for row in cells]


def test_what_has_a_row_for_each_sample_says_so():
    explanation = xor()
    captions = {record.name: "<caption>rows × units</caption>" in table(record) for record in explanation.records}
    parameters = ("dL/dW1", "dL/db1", "dL/dW2", "dL/db2", "W1′", "b1′", "W2′", "b2′")
    assert [name for name, caption in captions.items() if not caption and name not in ("L", "L′")] == [
        name for name in captions if name in parameters
    ]


def short(explanation):
    """The five lines above the page, without their button."""
    found = re.search('<dl class="short once">(.*?)</dl>', explanation.to_html(), re.DOTALL)[1]
    found = re.sub("<button.*?</button>", "", found)
    lines = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", found)
    return {question: answer.strip() for question, answer in lines}


def test_five_lines_above_say_what_happens():
    net = torchbp.nn.MLP(2, 4, 1)
    one = torchbp.explain(net, [1, 2], [1], features=["a<b", "c"])
    lines = short(one)
    assert lines["What goes in?"] == "a&lt;b = 1, c = 2"
    assert lines["What comes out?"] == f"A2 = {one['A2'].tensor.item():.4g}; the target is 1"
    assert lines["How wrong is it?"] == f"L = {one.loss:.4g}"
    gradients = {name: one[f"dL/d{name}"].tensor for name in ("W1", "W2")}
    blamed = re.match(r"∂L/∂(W\d)\[(\d),(\d)\] = (\S+),", lines["Which weight is most to blame?"])
    value = gradients[blamed[1]][int(blamed[2]) - 1, int(blamed[3]) - 1].item()
    assert abs(value) == max(gradient.abs().max().item() for gradient in gradients.values())
    assert blamed[4] == f"{value:.4g}".replace("-", "−")
    new = one.updated[{"W1": "0.weight", "W2": "2.weight"}[blamed[1]]][int(blamed[2]) - 1, int(blamed[3]) - 1]
    assert f" to {new:.4g}; L goes".replace("-", "−") in lines["What does the step change?"]


def test_five_lines_of_many_rows_and_answers_are_short():
    wide = torchbp.explain(torchbp.nn.MLP(30, 4, 9), torch.ones(30), torch.ones(9), outputs=[*"abcdefghi"])
    assert short(wide)["What goes in?"].endswith("X[5] = 1, and 25 more")
    assert short(wide)["What comes out?"].startswith("A2 = P(a): ")
    assert "and 4 more; the target is 1, 1, 1, 1, 1, and 4 more" in short(wide)["What comes out?"]
    lines = short(xor())
    assert lines["What goes in?"] == "4 rows of 2 inputs"
    assert lines["What comes out?"].endswith("; the target is 0, 1, 1, 0")
    many = torchbp.explain(torchbp.nn.MLP(2, 4, 2), torch.ones(3, 2), torch.ones(3, 2))
    assert short(many)["What comes out?"] == "3 rows of 2 answers A2"


def test_inputs_are_shown_as_they_were_before_they_were_scaled_and_answers_by_their_names():
    net = torchbp.nn.MLP(2, 4, 1)
    names = {"features": ["age", "size<3"], "outputs": ["benign"]}
    explanation = torchbp.explain(net, [0.5, -1], [1], unscaled=[40, 2], **names)
    assert short(explanation)["What goes in?"] == "age = 40 (scaled 0.5), size&lt;3 = 2 (scaled −1)"
    assert short(explanation)["What comes out?"].startswith("A2 = P(benign) = ")
    given = re.search('<details class="card" id="given">(.*?)</details>', explanation.to_html(), re.DOTALL)[1]
    assert re.findall("<h3>(.*?)</h3>", given) == [
        *("X", "X before it was scaled", "y", "W1, 0.weight", "b1, 0.bias", "W2, 2.weight", "b2, 2.bias"),
    ]
    assert re.findall("<th .*?>(.*?)</th>", given) == ["age", "size&lt;3", "age", "size&lt;3", "benign"]
    assert "<p>1 means benign.</p>" in given
    cells = [float(cell.replace("−", "-")) for cell in re.findall("<td>(.*?)</td>", given)]
    expected = [0.5, -1, 40, 2, 1, *(n for p in net.parameters() for n in p.flatten().tolist())]
    assert cells == [pytest.approx(value, rel=1e-3) for value in expected]


def test_checks_are_behind_one_line_where_all_are_ok():
    page = xor().to_html()
    assert "<summary>2 checks ok</summary>" in page
    assert "<summary>1 check ok</summary>" in page
    relu = torchbp.nn.MLP(1, 2, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        [p.zero_() for p in relu.parameters()]
    page = torchbp.explain(relu, [1.0], [1.0]).to_html()
    assert '<p class="check none">' in re.sub("<details class=.checks.*?</details>", "", page, flags=re.DOTALL)


def test_where_no_weight_learns_none_is_to_blame():
    net = torchbp.nn.MLP(2, 4, 1)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert len(short(torchbp.explain(net, [1, 2], [1]))) == 3


def test_rates_are_real_losses_and_their_minimum():
    explanation = xor()
    rates = data_of(explanation.to_html())["rates"]
    for rate, loss in rates["points"]:
        assert explanation.loss_after(rate) == pytest.approx(loss, rel=1e-4)
    assert rates["points"][rates["chosen"]] == [1.0, pytest.approx(explanation.new_loss, rel=1e-5)]
    assert rates["points"][rates["minimum"]][1] == min(loss for _, loss in rates["points"])
    best = rates["points"][rates["minimum"]][0]
    assert explanation.loss_after(best) <= min(explanation.loss_after(best * f) for f in (0.999, 1.001))


def test_without_a_gradient_there_is_no_curve():
    net = torchbp.nn.MLP(2, 4, 1)
    with torch.no_grad():
        [p.zero_() for p in net.parameters()]
    explanation = torchbp.explain(net, *XOR)
    assert rates_of(explanation) == nothing("The gradient is 0")
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert rates_of(torchbp.explain(net, *XOR)) == nothing("All parameters are frozen")
    net = torch.nn.Linear(2, 1)
    infinite = torchbp.explain(net, [1e30, 1e30], [0], loss=torch.nn.MSELoss())
    assert rates_of(infinite) == nothing("The loss is not finite")


def test_the_curve_is_of_the_optimizers_direction():
    """Weight decay alone is a step too."""
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(net.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.5)
    explanation = torchbp.explain(net, [1.0], [1.0], loss=torch.nn.MSELoss(), optimizer=optimizer)
    assert explanation.new_loss > explanation.loss == 0
    assert curve(explanation)["says"].startswith("The loss rises from the start of the scale")
    explanation = torchbp.explain(net, [1.0], [0.5], loss=torch.nn.MSELoss(), optimizer=optimizer)
    assert curve(explanation)["says"].startswith("The minimum along the optimizer's direction: ")


def test_the_page_knows_the_mistakes_of_small_gradients():
    explanation = deep()
    assert explanation["dL/dW1"].tensor.abs().max() < 1e-8
    program = data_of(explanation.to_html())["program"]
    says = [program["says"][number] for number, *_ in program["mistakes"]["dL/dZ1"]]
    assert "The slope A1 ∘ (1 − A1) is missing." in says
    assert len(says) == len(program["mistakes"]["dL/dZ8"])


def rates_of(explanation):
    rates = data_of(explanation.to_html())["rates"]
    says = rates.pop("says")
    return {**rates, "says": says.split(":")[0].split(",")[0]}


def nothing(says):
    return {"points": [], "chosen": None, "minimum": None, "says": says}


def one_weight(z, y, lr=1.0, dtype=torch.float64, loss=None):
    net = torch.nn.Linear(1, 1, bias=False, dtype=dtype)
    torch.nn.init.constant_(net.weight, z)
    return torchbp.explain(net, [1.0], [y], lr=lr, loss=loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_minimum_is_where_the_loss_rises_again(dtype):
    square = rates_of(one_weight(3.0, 1.0, dtype=dtype, loss=torch.nn.MSELoss()))
    assert square["says"] == "The minimum along the gradient"
    assert square["points"][square["minimum"]] == [pytest.approx(0.5, rel=1e-3), pytest.approx(0, abs=1e-6)]
    for z, y in ((0.0, 1.0), (-3.0, 1.0), (3.0, 0.0)):  # one row: the loss falls to 0, and stays there
        falls = rates_of(one_weight(z, y, lr=1000.0, dtype=dtype))
        assert falls["minimum"] is None
        assert falls["points"][-1][1] == 0
        assert falls["says"] == "The loss falls to the end of the scale"
    longest = rates_of(one_weight(3.0, 1.0, lr=1e12, dtype=dtype, loss=torch.nn.MSELoss()))
    assert longest["minimum"] is None
    assert longest["says"] == "The loss rises from the start of the scale"
    flat = rates_of(one_weight(0.5, 1.0, lr=1e-25, dtype=dtype))
    assert flat["minimum"] is None
    assert flat["says"] == "The loss is flat"


@pytest.mark.parametrize(
    ("dtype", "fall", "rise", "seen"),
    [
        (torch.float64, 1.0, 2e-6, True),  # a millionth of the fall is what is seen
        (torch.float64, 1.0, 5e-7, False),
        (torch.float64, 1e-3, 2e-9, True),
        (torch.float64, 1e-3, 5e-10, False),
        (torch.float32, 1e-3, 3e-6, True),  # and more than rounding, 16 eps of the loss
        (torch.float32, 1e-3, 1e-6, False),
    ],
)
def test_the_smallest_rise_that_makes_a_minimum(dtype, fall, rise, seen, monkeypatch):
    bend = lambda lr, start: start - fall * lr if lr < 1 else start - fall + rise * min(lr - 1, 1)  # noqa: E731
    rates = curve_of(bend, monkeypatch, dtype)
    assert (rates["minimum"] is not None) == seen
    assert rates["says"].startswith("The minimum along the gradient" if seen else "The loss falls to the end")


def curve_of(loss_after, monkeypatch, dtype=torch.float64):
    """Of a loss that is a function of the learning rate, and of the loss before; the given rate is 1."""
    explanation = one_weight(0.0, 1.0, dtype=dtype)
    monkeypatch.setattr(explanation, "loss_after", lambda lr: loss_after(lr, explanation.loss))
    monkeypatch.setattr(explanation, "new_loss", loss_after(1.0, explanation.loss))
    return curve(explanation)


@pytest.mark.parametrize(
    ("loss_after", "low", "high"),
    [
        (lambda lr, start: start * (lr - 2) ** 2, 1e-2, 1e2),
        (lambda lr, start: start * math.exp(-lr), 1e-2, 1e2),  # nothing is left of it
        (lambda lr, start: start * (2e-3 + 0.9 / (1 + lr)), 1e-2, 1e6),  # something is, and it falls and falls
        (lambda lr, start: start * (1 + lr), 1e-6, 1e2),  # only a shorter step is better
    ],
)
def test_the_scale_of_the_curve(loss_after, low, high, monkeypatch):
    """From a hundredth of the rate to a hundred times it, or while the loss falls; the points are evenly spaced."""
    rates = curve_of(loss_after, monkeypatch)
    points = [rate for rate, _ in rates["points"]]
    assert (points[0], points[-1]) == (pytest.approx(low, rel=1e-8), pytest.approx(high, rel=1e-8))
    if rates["minimum"] is not None:
        del points[rates["minimum"]]
    points = {f"{rate:.6g}" for rate in points}  # the given one once
    assert points == {f"{low * (high / low) ** (i / 60):.6g}" for i in range(61)}


@pytest.mark.parametrize(
    ("lr", "dtype"), [(1e308, torch.float64), (1e-30, torch.float64), (3e38, torch.float32), (1e-30, torch.float32)]
)
def test_the_longest_and_the_shortest_step_give_a_curve(lr, dtype):
    torch.manual_seed(0)
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=dtype), *XOR, lr=lr)
    rates = data_of(explanation.to_html())["rates"]
    assert all(rate is not None and 0 < rate < float("inf") for rate, _ in rates["points"])
    assert rates["points"][rates["chosen"]][0] == pytest.approx(lr, rel=1e-5)
    assert json.loads(explanation.to_json())["lr"] == lr


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize(
    "loss", [torch.nn.BCEWithLogitsLoss(), torch.nn.MSELoss(), torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))]
)
@pytest.mark.parametrize("outputs", [1, 2])
def test_equations_are_well_formed_mathml(activation, loss, outputs):
    y = XOR[1].expand(-1, outputs)
    explanation = torchbp.explain(torchbp.nn.MLP(2, 3, outputs, activation=activation), XOR[0], y, loss=loss)
    for record in explanation.records:
        drawn = mathml.drawn_equation(record.quantity, record.sides, equation_text(record, partial), {"X": (4, 2)})
        root = ElementTree.fromstring(drawn)
        assert root.get("alttext") == record.equation.replace("dL/d", "∂L/∂")
        words = set("".join(root.itertext()))
        kept = set(root.get("alttext")) - set(" /ᵀ²ₙΣ[]")
        assert kept <= words | set("()"), kept - words
        if record.rule:
            ElementTree.fromstring(mathml.drawn_chain_rule(record.quantity, record.chain, record.rule))


@pytest.mark.parametrize(
    ("norms", "ends", "shares"),
    [
        ([0.5], ("10⁻³", "10⁰"), [0.8997]),
        ([0.0, 1.0], ("10⁻³", "10⁰"), [0, 1]),
        ([0.02, 0.01], ("10⁻⁴", "10⁻¹"), [0.767, 0.6667]),
        ([1e-7, 3e2], ("10⁻⁸", "10³"), [1 / 11, 0.9525]),
        ([0.0, 0.0], ("10⁻³", "10⁰"), [0, 0]),
        ([float("nan"), float("inf"), 0.1], ("10⁻⁴", "10⁻¹"), [0, 0, 1]),
    ],
)
def test_bars_have_one_scale_in_the_terminal_and_on_the_page(norms, ends, shares, monkeypatch):
    assert text.scale(norms) == (ends, pytest.approx(shares, abs=1e-3))
    explanation = xor()
    monkeypatch.setattr(explanation, "norms", lambda: norms)
    strip = explanation.to_html()
    drawn = [float(width) / 100 for width in re.findall(r'<i style="width:(.*?)%">', strip)]
    assert drawn == pytest.approx([share for share in reversed(shares) if share], abs=1e-3)
    assert f'<p class="axis"><span>{ends[0]}</span><span>{ends[1]}</span></p>' in strip
    lengths = [line.count("█") for line in text.bars(norms)]
    assert lengths == pytest.approx([30 * share for share in reversed(shares)], abs=0.51)
    if len(norms) > 1:
        assert f"(bars: {ends[0]} to {ends[1]})" in explanation.to_text()


def mixed(a, b, share):
    channels = ((int(a[i : i + 2], 16), int(b[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * x + (1 - share) * y):02x}" for x, y in channels)


def test_white_space_goes_where_it_changes_nothing():
    """And stays in strings, templates and regular expressions."""
    script = """const a = `x  ${b ? "  " : `  y`}`; // a comment
      const r = /a  [/] b/g, s = "a  =  b"; /* another */ f( a / b, c - -d );"""
    expected = """const a=`x  ${b?"  ":`  y`}`;const r=/a  [/] b/g,s="a  =  b";f(a/b,c- -d);"""
    assert smaller_script(script) == expected
    assert (
        smaller_style("/* c */ a > b ,\n  .c { d: e;\n  f: calc(1rem - 2px) ; }\n")
        == "a > b,.c{d: e;f: calc(1rem - 2px);}"
    )


def test_only_what_is_declared_in_a_function_has_a_short_name():
    """Not properties, the top level, keywords, or what is declared nowhere; what is a property too has both names."""
    script = """const { points, far: other } = data.rates; let first = 1, second = 2;
      function scaled({ points: numbers, share = second }, [low, high], ...more) {
        const wide = numbers.length, result = { wide, share: low, [high]: more };
        for (const of of more)
          switch (of) { case "a": { const found = `${wide}${other ? `${low} wide` : ""}`; return { found }; } }
        try { return result.wide ? share : points; }
        catch (error) { return other.map((share) => share / Math.min(...low)); }
      }"""
    expected = """const{points,far:other}=data.rates;let first=1,second=2;
      function scaled({points:d,share:a=second},[b,c],...e){
        const f=d.length,g={wide:f,share:b,[c]:e};
        for(const of of e)
        switch(of){case"a":{const h=`${f}${other?`${b} wide`:""}`;return{found:h};}}
        try{return g.wide?a:points;}
        catch(i){return other.map((a)=>a/Math.min(...b));}
      }"""
    found, wanted = smaller_script(script), re.sub(r"\n\s*", "", expected)
    assert re.sub(r"\b[a-i]\b", "_", found) == re.sub(r"\b[a-i]\b", "_", wanted)
    pairs = set(zip(re.findall(r"\b[a-i]\b", found), re.findall(r"\b[a-i]\b", wanted), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_no_text_is_faded():
    """Its colour is what is tested; a group's opacity would take its contrast away."""
    faded = re.findall(r"([^{}]*)\{[^{}]*opacity: \.", style())
    assert [rule.split("}")[-1].strip() for rule in faded] == [
        "button:disabled",
        "#network .edges",
        "#network .edges.known",
        ".edge.weak",
    ]


def test_colours_are_legible_in_light_and_dark():
    dark = re.compile(r"@media screen and \(prefers-color-scheme: dark\) \{(.*?\})\s*\}", re.DOTALL)
    schemes = dark.sub("", style()), " ".join(dark.findall(style()))
    found = [dict(re.findall(r"--([\w-]+): (#\w{6})", scheme)) for scheme in schemes]
    for colours in found:
        for behind in ("back", "card", "soft"):
            assert min(contrast(colours[name], colours[behind]) for name in ("text", "muted")) >= 4.5
            assert min(contrast(colours[name], colours[behind]) for name in ("positive", "negative", "lit")) >= 3
        share = int(re.search(r"SHARE = (\d+)", read(["script/paint.js"]))[1]) / 100
        for hue in ("positive", "negative"):  # behind a unit's numbers
            behind = mixed(colours[hue], colours["card"], share)
            assert min(contrast(colours[name], behind) for name in ("text", "muted")) >= 4.5
        assert contrast(colours["lit"], colours["lit-text"]) >= 4.5
