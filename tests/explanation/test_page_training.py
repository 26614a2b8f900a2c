"""The page computes the step by itself: its numbers are Python's, and it trains, plots and may be changed."""

import math
import re

import pytest
import torch

import torchbp
from tests.explanation.operations import IMAGES, with_all, with_images
from tests.explanation.samples import XOR, cancer, data_of, large, xor
from torchbp.explanation.notation.numeric_examples import largest_place
from torchbp.explanation.render.html.program import FUNCTIONS, MOST_NUMBERS, NODES
from torchbp.explanation.render.plain_text import partial
from torchbp.ops.lessons.attention_head import AttentionHead
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss

NUMBERS = """Object.fromEntries(data.steps.map(({ name }) => [name, toLists(training.values[name])]))"""


def trained(browser, steps):
    """Every number of the step after so many, by the page; where nothing changes any more, of the last step."""
    browser.evaluate(f"(() => {{ while (training.steps.length <= {steps} && takeStep()); }})()")
    return browser.evaluate(f"(goTo(Math.min({steps}, training.steps.length - 1)), {NUMBERS})")


def check_training(browse, model, x, y, steps=4, cancels=1, **options):
    """The page's numbers at the first step, and at the last, are those of Python. cancels: how many times larger than
    what is left the terms may be that the page adds up in another order."""
    explanation = torchbp.explain(model, x, y, steps=steps, **options)
    browser = browse(explanation)
    for place in (0, steps - 1):
        found = trained(browser, place)
        assert list(found) == [record.name for record in explanation.records]
        for record in explanation.steps[place].records:
            tensor = record.tensor.double().reshape(-1)
            computed = torch.tensor(found[record.name], dtype=torch.float64).reshape(-1)
            bound = cancels * 1e-12 * min(1.0, tensor.abs().max().item())
            torch.testing.assert_close(
                computed, tensor, rtol=1e-12, atol=bound, msg=lambda m, r=record: f"{r.name}: {m}"
            )
    return browser


def network(activations, width=3, outputs=1):
    """A layer before each activation, and one after them."""
    layers = [torch.nn.Linear(2, width)]
    for activation in activations:
        layers += [activation, torch.nn.Linear(width, width)]
    layers[-1] = torch.nn.Linear(width, outputs)
    return torch.nn.Sequential(*layers).double()


ACTIVATIONS = [rule.module_class for rule in rules(Activation).values()]


@pytest.mark.parametrize("some", [ACTIVATIONS[::3], ACTIVATIONS[1::3], ACTIVATIONS[2::3]])
def test_every_activation_has_the_numbers_of_python(without_checks, browse, some):
    torch.manual_seed(3)
    model, x = network([cls() for cls in some]), 2 * torch.randn(5, 2, dtype=torch.float64)
    y = torch.rand(5, 1, dtype=torch.float64)
    check_training(browse, model, x, y, lr=0.3)


def test_every_kind_of_layer_has_the_numbers_of_python(without_checks, browse):
    model, x, y = with_all()
    check_training(browse, model, x, y, lr=0.1, cancels=100)  # four norms take most of the gradient away


OF_IMAGES = (
    "linear",
    "layer_norm",
    "softmax_of_channels",
    "conv_transpose_of_groups",
    "max_pool_of_ties",
    "group_norm",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OF_IMAGES else pytest.mark.exhaustive) for name in IMAGES]
)
def test_layers_of_images_have_the_numbers_of_python_and_a_line_for_each(without_checks, browse, name):
    steps = 1 if name in ("batch_norm", "dropout_of_channels") else 3  # of a dropout the page draws other masks
    browser = check_training(browse, *with_images(name), steps=steps, cancels=100, lr=0.1)
    lines = browser.evaluate(
        "(goTo(0), data.steps.map(({ name }, i) => (show(i), [name, lineOf(name, 0, 0, training.values)])))"
    )
    for quantity, line in lines:
        assert re.match(re.escape(quantity.replace("dL/d", "∂L/∂")) + r"(\[[\d,]+\])? = .*\d$", line), line


def test_an_attention_head_has_the_numbers_of_python(without_checks, browse):
    torch.manual_seed(8)
    model = torch.nn.Sequential(AttentionHead(3, 2), torch.nn.Linear(2, 1)).double()
    check_training(browse, model, torch.randn(4, 3), torch.rand(4, 1).round(), lr=0.5)


def kernels():
    """Convolutions with zeros around, strides, groups and without a bias."""
    torch.manual_seed(9)
    first, second = torch.nn.Conv2d(2, 4, 2, padding=1), torch.nn.Conv2d(4, 2, 2, stride=2, groups=2, bias=False)
    layers = [first, torch.nn.Tanh(), second, torch.nn.Flatten(), torch.nn.Linear(8, 1)]
    return torch.nn.Sequential(*layers).double(), torch.randn(3, 2, 3, 3), torch.rand(3, 1).round()


def test_convolutions_have_the_numbers_of_python(without_checks, browse):
    check_training(browse, *kernels(), lr=0.5)


def test_the_elements_of_a_kernel_have_their_names(without_checks, browse):
    """In the line and in the table, after a step; and its shape is asked for with all its dimensions."""
    model, x, y = kernels()
    explanation = torchbp.explain(model, x, y, lr=0.5, steps=2)
    browser, after = browse(explanation), explanation.steps[1]
    browser.click("#one")
    for name in ("Z2", "dL/dW1", "dL/dZ1", "W2′"):
        browser.evaluate(f"show({[record.name for record in after.records].index(name)})")
        record = after[name]
        (line, number), tensor = browser.text(".step.shown .numbers").split(" = ", 1), record.tensor
        place = largest_place(tensor[0]) if record.has_rows else largest_place(tensor)
        place = (0, *place) if record.has_rows else place
        assert line == partial(record.quantity) + "[" + ",".join(str(at + 1) for at in place) + "]"
        assert number.endswith(f" = {tensor[place].item():.4g}".replace("-", "−"))
        cells = browser.evaluate("[...document.querySelectorAll('.step.shown td')].map((c) => c.textContent)")
        shown = [cell.replace("−", "-") for cell in cells if cell != "⋯"]
        table = tensor.reshape(-1, tensor.shape[-1])
        assert float(shown[0]) == pytest.approx(table[0, 0].item(), rel=1e-3)
        assert float(shown[-1]) == pytest.approx(table[-1, -1].item(), rel=1e-3)
    browser.evaluate("(goTo(0), byId('kind').value = 'shape', byId('examine').click())")
    verdict = "(answer({!r}), byId('verdict').textContent)"
    assert (
        browser.evaluate(verdict.format("2×8")) == "No. A step changes the numbers of a parameter, and not its shape."
    )
    assert browser.evaluate(verdict.format("2×2×2×2")) == "Right."


def test_kernels_are_drawn_as_squares_and_stay_those_of_the_step(without_checks, browse):
    """Of the forward pass and of the gradient, by sign and size, beside each record that is about a kernel."""
    model, x, y = kernels()
    explanation = torchbp.explain(model, x, y, lr=0.5, steps=2)
    browser = browse(explanation)
    of_each = "(r) => [r.className.baseVal, +r.style.fillOpacity]"
    squares = f"[...document.querySelectorAll('.step.shown .kernels rect')].map({of_each})"
    for step, after in enumerate(explanation.steps):
        for name, kernel in (("Z1", "W1"), ("Z2", "W2"), ("dL/dW1", "dL/dW1"), ("W2′", "W2′"), ("Z2′", "W2′")):
            browser.evaluate(f"(goTo({step}), show({[record.name for record in explanation.records].index(name)}))")
            numbers = after.values[kernel].reshape(-1)
            shares = (numbers.abs() / numbers.abs().max()).tolist()
            found = browser.evaluate(squares)
            assert [kind for kind, _ in found] == ["negative" if n < 0 else "positive" for n in numbers.tolist()]
            assert [share for _, share in found] == pytest.approx(shares, abs=1e-5)
            assert browser.text(".step.shown figcaption").startswith(
                f"The kernels of {kernel.replace('dL/d', '∂L/∂')}:"
            )
        browser.evaluate("takeStep()")
    browser.evaluate("show(data.steps.findIndex(({ name }) => name === 'Z3'))")
    assert not browser.evaluate("document.querySelector('.step.shown .kernels')")


def test_only_kernels_are_drawn_and_of_many_the_first(without_checks, browse):
    """The weight of a norm over images has three dimensions, too, but no kernels."""
    torch.manual_seed(9)
    layers = [torch.nn.Conv1d(1, 9, 2), torch.nn.LayerNorm((9, 2)), torch.nn.Flatten(), torch.nn.Linear(18, 1)]
    images = torch.nn.LayerNorm((1, 2, 2)), torch.nn.Conv2d(1, 2, 2), torch.nn.Flatten(), torch.nn.Linear(2, 1)
    browser = browse(torchbp.explain(torch.nn.Sequential(*images), torch.randn(1, 1, 2, 2), [[1.0]]))
    shown = "[...document.querySelectorAll('.step.shown .kernels rect')].length"
    names = "data.steps.map(({ name }) => name)"
    found = browser.evaluate(f"Object.fromEntries({names}.map((name, i) => (show(i), [name, {shown}])))")
    assert {name for name, count in found.items() if count} == {"Z2", "dL/dW2", "W2′", "Z2′"}
    browser = browse(torchbp.explain(torch.nn.Sequential(*layers), torch.randn(1, 1, 3), [[1.0]]))
    assert browser.evaluate(f"(show(0), {shown})") == 8 * 2
    assert browser.text(".step.shown figcaption").startswith("The first 8×1 of the 9×1 kernels of W1:")


@pytest.mark.parametrize("layer", [torch.nn.Softmax(1), torch.nn.LogSoftmax(1)])
def test_a_softmax_along_a_channel_does_not_overflow(without_checks, browse, layer):
    """Of logits of hundreds, each e^z is too large for a number."""
    torch.manual_seed(6)
    layers = [layer, torch.nn.Flatten(), torch.nn.Linear(12, 2)]
    x = 900 * torch.randn(2, 3, 2, 2, dtype=torch.float64) + torch.tensor([900.0, -2000.0]).reshape(2, 1, 1, 1)
    check_training(browse, torch.nn.Sequential(*layers).double(), x, torch.rand(2, 2), steps=2, cancels=100, lr=0.1)


def test_a_convolution_of_many_products_is_not_trained_and_the_page_says_so(without_checks):
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(784, 1)]
    page = torchbp.explain(torch.nn.Sequential(*layers), torch.randn(1, 1, 16, 16), [[1.0]]).to_html()
    assert data_of(page)["program"] is None
    assert "The page trains convolutions of up to 5,000 products for each row; these have 7,056." in page


def test_a_page_without_such_layers_has_no_script_of_them(without_checks):
    assert "WRITTEN,{" in torchbp.explain(*with_images("linear")).to_html()
    without = torchbp.explain(torchbp.nn.MLP(2, 2, 1), *XOR).to_html()
    assert "WRITTEN,{" not in without
    assert "figcaption" not in without


SHOWN = [rule for rule in rules(Loss).values() if None not in (rule.equation, rule.slope) and rule.module_class]


@pytest.mark.parametrize("rule", SHOWN, ids=lambda rule: rule.name)
def test_every_loss_has_the_numbers_of_python(without_checks, browse, rule):
    torch.manual_seed(4)
    model = network([torch.nn.Tanh()], outputs=2)
    if rule.domain and rule.answers is None and rule.target != "classes":
        model.append(torch.nn.Sigmoid())
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    y[0] = 1
    if rule.target == "classes":
        y = torch.tensor([0, 1, 1, 0])
        if rule.answers is None:
            model.append(torch.nn.LogSoftmax(-1))
    loss = rule.module_class(reduction="sum" if len(rule.name) % 2 else "mean")
    check_training(browse, model, x, y, loss=loss, lr=0.2)


@pytest.mark.parametrize("bias", [40.0, -800.0])
@pytest.mark.parametrize("last", [[], [torch.nn.Sigmoid()]])
def test_sure_and_wrong_answers_are_computed_as_in_python(without_checks, browse, bias, last):
    """1 − A is 0 there, and e^800 is too large for a number."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1), *last).double()
    torch.nn.init.constant_(model[2].bias, bias)
    x, y = torch.randn(3, 2, dtype=torch.float64), torch.tensor([[0.0], [1.0], [0.25]])
    check_training(browse, model, x, y, lr=0.1)


@pytest.mark.parametrize(("scale", "drop", "steps"), [(1.0, 0.0, 4), (300.0, 0.0, 4), (1.0, 0.3, 1)])
def test_softmax_norms_and_masks_are_computed_as_in_python(without_checks, browse, scale, drop, steps):
    """Of logits of hundreds every e^z is too large for a number, or 0. The page keeps the mask of the first step."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Dropout(drop), torch.nn.Tanh(), torch.nn.Flatten()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[-1].weight.mul_(scale)
    loss = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)
    x, y = torch.randn(5, 3, dtype=torch.float64), [0, 1, 2, 2, 1]
    check_training(browse, model, x, y, steps, loss=loss, lr=0.3)


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_the_numbers_of_python(without_checks, browse, name):
    """What it remembers goes on from step to step, and Adam counts them."""
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 3, 1, dtype=torch.float64)
    check_training(browse, model, *XOR, optimizer=OPTIMIZERS[name](model.parameters()))


def test_frozen_parameters_stay(without_checks, browse):
    model = torchbp.nn.MLP(2, 3, 1, dtype=torch.float64)
    model[0].weight.requires_grad_(False)
    check_training(browse, model, *XOR, lr=1.0)


def test_the_page_knows_the_nodes_and_functions_that_the_program_holds(without_checks, browse):
    browser = browse(torchbp.explain(*with_all()))  # with places.js
    assert sorted(browser.evaluate("Object.keys(NODES)")) == sorted(NODES)
    functions = browser.evaluate("[...Object.keys(FUNCTIONS), ...Object.keys(FUNCTIONS_OF_TWO)]")
    assert sorted(functions) == sorted(FUNCTIONS)


def test_many_rows_side_by_side_are_each_read_once(without_checks, browse):
    """As the map of the answers has them; the square of their number would be 4e8."""
    browser = browse(torchbp.explain(*with_all()))
    browser.evaluate("var many = matrix(20000, 2, Float64Array.from({ length: 40000 }, (_, i) => i))")
    browser.evaluate("var beside = NODES.Beside((value) => value, many, many)")
    found = browser.evaluate("[beside.rows, beside.columns, ...beside.numbers.slice(-4)]")
    assert found == [20_000, 4, 39_998, 39_999, 39_998, 39_999]


def test_erf_is_exact(browse):
    """On both sides of 2.5, where the series ends and the continued fraction begins, and of 6."""
    numbers = [-7.0, -3.1, -2.5, -1.0, -1e-9, 0.0, 0.3, 2.4999, 2.5001, 4.0, 5.99, 6.5]
    found = browse(xor()).evaluate(f"{numbers}.map(erf)")
    assert found == [pytest.approx(math.erf(z), rel=4e-16, abs=1e-300) for z in numbers]


def test_a_network_of_too_many_numbers_is_not_trained_and_the_page_says_so(browse):
    assert data_of(large().to_html())["program"] is None
    browser = browse(large())
    assert f"{MOST_NUMBERS:,} numbers" in browser.text("#train-card")
    assert browser.evaluate("document.querySelectorAll('#train-card button').length") == 0


def test_buttons_take_steps_play_and_go_back(browse):
    explanation = xor()
    browser = browse(explanation)
    assert browser.text("#when") == f"After 0 steps: L = {explanation.loss:.4g}"
    browser.click("#one")
    assert browser.text("#when") == f"After 1 step: L = {explanation.new_loss:.4g}"
    browser.evaluate("byId('speed').value = 2")
    browser.click("#play")
    assert browser.text("#play") == "Pause"
    browser.evaluate("new Promise((done) => setTimeout(done, 300))")
    browser.click("#play")
    assert browser.text("#play") == "Play"
    count = browser.evaluate("training.steps.length - 1")
    assert count > 100
    assert browser.text("#when").startswith(f"After {count} steps: L = ")
    browser.evaluate("byId('time').value = 7; byId('time').dispatchEvent(new Event('input'))")
    assert browser.text("#when").startswith("After 7 steps")
    assert browser.evaluate("training.steps.length - 1") == count
    assert browser.evaluate("document.querySelector('#losses .line').getAttribute('d').length") > 100
    assert browser.evaluate("document.querySelectorAll('#answers canvas').length") == 1
    browser.click("#again")
    assert browser.text("#when") == f"After 0 steps: L = {explanation.loss:.4g}"


def test_text_table_and_picture_show_the_step_of_the_training(browse):
    browser = browse(xor())
    names = [record.name for record in xor().records]
    browser.click("#one")
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    model.load_state_dict(xor().updated)
    after = torchbp.explain(model, *XOR, lr=1.0)
    browser.press("Home", *["ArrowRight"] * names.index("A1"))
    cells = browser.evaluate("[...document.querySelectorAll('.step.shown td')].map((c) => parseFloat(c.textContent))")
    assert cells == [pytest.approx(value, rel=1e-3) for value in after["A1"].tensor.reshape(-1).tolist()]
    assert browser.text(".step.shown .numbers").endswith(f" = {after['A1'].tensor[0].max().item():.4g}")
    drawn = browser.evaluate("units[1].map(({ value }) => parseFloat(value.textContent))")
    assert drawn == [pytest.approx(value, abs=1e-3) for value in after["A1"].tensor[0].tolist()]
    norm = after.norms()[-1]
    shown_norm = browser.text("#strip .norm").replace("−", "-")
    assert float(shown_norm) == pytest.approx(norm, rel=1e-3)
    assert browser.text("#fact-losses dd") == f"{after.loss:.4g} and {after.new_loss:.4g}"
    assert not browser.evaluate("document.querySelector('.step.shown .check').offsetParent")  # of the first step
    browser.evaluate("goTo(0)")
    assert browser.evaluate("document.querySelector('.step.shown .check').offsetParent !== null")


def test_another_input_target_weight_and_learning_rate(browse):
    browser = browse(xor())
    browser.evaluate("byId('change').open = true")
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    change = """(() => { const input = byId('{}'); input.value = {}; input.dispatchEvent(new Event('change')); })()"""
    browser.evaluate(change.replace("{}", "number-1-0", 1).replace("{}", "0.5", 1))
    browser.evaluate("byId('which').value = 'y'; byId('which').dispatchEvent(new Event('change'))")
    browser.evaluate(change.replace("{}", "number-3-0", 1).replace("{}", "1", 1))
    browser.evaluate("byId('which').value = 'W2'; byId('which').dispatchEvent(new Event('change'))")
    browser.evaluate(change.replace("{}", "number-0-2", 1).replace("{}", "-2.5", 1))
    browser.evaluate(change.replace("{}", "alpha", 1).replace("{}", "0.25", 1))
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    with torch.no_grad():
        model[2].weight[0, 2] = -2.5
    x, y = (tensor.double().clone() for tensor in XOR)
    x[1, 0], y[3, 0] = 0.5, 1.0
    expected, found = torchbp.explain(model, x, y, lr=0.25), trained(browser, 0)
    for record in expected.records:
        computed = torch.tensor(found[record.name], dtype=torch.float64).reshape(-1)
        torch.testing.assert_close(computed, record.tensor.reshape(-1), rtol=1e-11, atol=1e-12)


def test_one_input_has_a_fitted_curve(browse):
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64).reshape(5, 1)
    model = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    browser = browse(torchbp.explain(model, x, x**2, loss=torch.nn.MSELoss()))
    found = browser.evaluate("toLists(forwardTo(fromLists([[-0.5], [2]]))[program.answer])")
    with torch.no_grad():
        expected = model(torch.tensor([[-0.5], [2.0]], dtype=torch.float64))
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected)
    assert browser.evaluate("document.querySelectorAll('#answers .point').length") == 5


def test_the_time_of_a_step_is_printed(browse):
    browser = browse(cancer())
    took = browser.evaluate(
        "(() => { const start = performance.now(); for (let i = 0; i < 50; i += 1) takeStep(); "
        "return (performance.now() - start) / 50; })()"
    )
    print(f"a step of 30-16-1 in the page: {took:.2f} ms")
    assert browser.evaluate("training.steps.length") == 51


def test_a_training_stops_where_nothing_changes_and_where_the_loss_is_no_number(browse):
    model = torch.nn.Linear(1, 1).double()
    explanation = torchbp.explain(model, [[1.0], [2.0]], [[1.0], [2.0]], lr=0.2, loss=torch.nn.MSELoss())
    browser = browse(explanation)
    browser.evaluate("(() => { while (takeStep()); goTo(training.steps.length - 1); })()")
    assert "almost 0" in browser.text("#why")
    browser = browse(torchbp.explain(model, [[1.0], [2.0]], [[1.0], [2.0]], lr=1e30, loss=torch.nn.MSELoss()))
    browser.evaluate("(() => { while (takeStep()); goTo(training.steps.length - 1); })()")
    assert "learning rate is too large" in browser.text("#why")


def test_the_map_of_classes_has_a_colour_for_each(browse):
    torch.manual_seed(0)
    model, x = torch.nn.Linear(2, 3).double(), torch.eye(2, dtype=torch.float64).repeat(2, 1)
    explanation = torchbp.explain(model, x, [0, 1, 2, 2], loss=torch.nn.CrossEntropyLoss(), outputs=["r", "g", "b"])
    browser = browse(explanation)
    fills = browser.evaluate("[...document.querySelectorAll('#answers .point')].map((p) => p.style.fill)")
    assert len(fills) == 4
    assert fills[2] == fills[3]
    assert len(set(fills)) == 3
    assert browser.text("#answers p:last-child").split() == ["r", "g", "b"]
    middle = browser.evaluate(
        "[...document.querySelector('#answers canvas').getContext('2d').getImageData(24, 24, 1, 1).data]"
    )
    with torch.no_grad():
        best = model(torch.tensor([[0.5 + 1 / 64, 0.5 - 1 / 64]], dtype=torch.float64)).argmax().item()
    assert middle[:3] == [int(["#1668a8", "#b84a00", "#2e7d32"][best][i : i + 2], 16) for i in (1, 3, 5)]


def change(browser, name, value):
    """As if a reader typed it."""
    typed = f"i.value = {value}; i.dispatchEvent(new Event('change'))"
    browser.evaluate(f"(() => {{ const i = byId('{name}'); {typed}; }})()")


def test_a_step_keeps_the_learning_rate_that_it_was_taken_with(browse):
    """Back in time W1′ is the W1 of the next step."""
    browser = browse(xor())
    browser.click("#one")
    browser.click("#one")
    change(browser, "alpha", 0.125)
    browser.click("#one")
    for at, rate in ((1, 1), (2, 0.125)):
        browser.evaluate(f"goTo({at})")
        assert browser.text("#fact-rate dd") == str(rate)
        assert browser.evaluate("byId('alpha').valueAsNumber") == rate
        after = browser.evaluate("toLists(training.values['W1′'])")
        assert after == browser.evaluate(f"toLists(training.steps[{at + 1}].given.W1)")


def test_why_a_training_stopped_is_forgotten_once_something_is_changed(browse):
    model = torch.nn.Linear(1, 1).double()
    browser = browse(torchbp.explain(model, [[1.0], [2.0]], [[1.0], [2.0]], lr=0.2, loss=torch.nn.MSELoss()))
    stop = "(() => { while (takeStep()); goTo(training.steps.length - 1); })()"
    browser.evaluate(stop)
    browser.evaluate("edit('b1', 0, 0, 5)")
    assert browser.text("#why") == ""
    change(browser, "alpha", 1e30)
    browser.evaluate(stop)
    assert "learning rate is too large" in browser.text("#why")
    change(browser, "alpha", 0.25)
    assert browser.text("#why") == ""


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"weight_decay": 0.5}])
def test_a_training_goes_on_where_the_gradient_is_0_and_the_step_is_not(browse, settings):
    model = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    if "momentum" in settings:
        optimizer.state[model.weight]["momentum_buffer"] = torch.ones(1, 1, dtype=torch.float64)
    browser = browse(torchbp.explain(model, [[1.0]], [[1.0]], loss=torch.nn.MSELoss(), optimizer=optimizer))
    browser.click("#one")
    assert browser.text("#when").startswith("After 1 step: ")
    assert browser.text("#why") == ""


@pytest.mark.parametrize(("loss", "taken"), [(None, False), (torch.nn.MSELoss(), True)])
def test_a_target_is_what_the_loss_takes(browse, loss, taken):
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 2, 1, dtype=torch.float64)
    browser = browse(torchbp.explain(model, *XOR, loss=loss))
    browser.evaluate("(byId('which').value = 'y', byId('change').open = true, showNumbers())")
    change(browser, "number-1-0", 5)
    expected = 5 if taken else 1
    assert browser.evaluate("entry(training.values.y, 1, 0)") == expected
    assert browser.evaluate("byId('number-1-0').valueAsNumber") == expected


def test_a_frozen_network_is_not_said_to_have_no_gradient(browse):
    browser = browse(torchbp.explain(torch.nn.Linear(1, 1).requires_grad_(False), [[1.0]], [[1.0]]))
    browser.click("#one")
    assert browser.text("#why") == "All parameters are frozen: no step changes them."
