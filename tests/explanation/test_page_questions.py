"""What a student asks of the page: which row is most wrong, which weight matters, why is this gradient negative?"""

import copy

import pytest
import torch

import torchbp
from tests.explanation.operations import with_images
from tests.explanation.samples import XOR, cancer, xor
from tests.explanation.test_page_following import answer, at
from torchbp.explanation.cli.lessons import LESSONS
from torchbp.ops.lessons.attention_head import AttentionHead


def of_row(browser):
    return browser.evaluate("[...document.querySelectorAll('#of-row p')].map((p) => p.textContent)")


@pytest.mark.parametrize(
    ("outputs", "loss"), [(1, None), (2, torch.nn.MSELoss()), (3, torch.nn.CrossEntropyLoss(reduction="sum"))]
)
def test_the_page_says_what_each_row_adds_to_the_loss(browse, outputs, loss):
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, outputs)).double()
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.rand(4, outputs, dtype=torch.float64)
    y = y.argmax(1) if outputs == 3 else y
    explanation = torchbp.explain(model, x, y, loss=loss)
    browser = browse(explanation)
    rows = browser.evaluate("lossesOfRows()")
    times = 1 if outputs == 3 else 4
    expected = [torchbp.explain(model, x[n : n + 1], y[n : n + 1], loss=loss).loss / times for n in range(4)]
    assert rows == [pytest.approx(value, rel=1e-9) for value in expected]
    worst = max(range(4), key=rows.__getitem__)
    for row in range(4):
        browser.evaluate(f"chooseRow({row})")
        more = "the most of all rows." if row == worst else f"row {worst + 1} adds the most, {rows[worst]:.4g}."
        assert of_row(browser)[0] == f"Row {row + 1} adds {rows[row]:.4g} to the loss; {more}"


def test_of_an_attention_head_no_weight_is_said_to_matter_most(browse):
    """Its matrices are not among the lines of the drawing, and any of them may matter more."""
    browser = browse(LESSONS["attention"](0.1, 1))
    browser.evaluate("chooseRow(1)")
    said = of_row(browser)
    assert said[0].startswith("Row 2 adds ")
    assert not [line for line in said if "matters most" in line or "changes no weight" in line]


def test_the_weight_that_matters_most_in_a_row_is_followed_with_one_click(browse):
    explanation = xor()
    browser = browse(explanation)
    for row in (0, 2):
        browser.evaluate(f"chooseRow({row})")
        shares = {}
        for layer, below in ((1, "X"), (2, "A1")):
            dz, x = explanation[f"dL/dZ{layer}"].tensor[row], explanation.values[below][row]
            product = dz.unsqueeze(1) * x
            to, source = divmod(int(product.abs().argmax()), product.shape[1])
            shares[f"W{layer}[{to + 1},{source + 1}]"] = product[to, source].item()
        best = max(shares, key=lambda name: abs(shares[name]))
        number = f"{shares[best]:.4g}".replace("-", "−")
        assert of_row(browser)[1].startswith(
            f"The weight that matters most in row {row + 1}: {best}, to whose gradient it adds {number}."
        )
    browser.click("#of-row button")
    assert browser.text("#chain h3").startswith(f"Weight {best} = ")
    total = explanation[f"dL/d{best[:2]}"].tensor[int(best[3]) - 1, int(best[5]) - 1].item()
    sign, way, step = ("negative", "lower", "larger") if total < 0 else ("positive", "raise", "smaller")
    assert f"∂L/∂{best} is {sign}: a larger {best} would {way} the loss. The step makes it {step}." in browser.text(
        "#chain"
    )


def test_dead_units_are_named(browse):
    model = torchbp.nn.MLP(2, 4, 1, activation="relu", dtype=torch.float64)
    with torch.no_grad():
        model[0].weight.fill_(1.0), model[0].bias.copy_(torch.tensor([1.0, -9.0, 1.0, -9.0]))
    browser = browse(torchbp.explain(model, *XOR))
    dead = (
        "Dead in every row, where the slope is 0 and no gradient comes through: unit 2 of layer 1, unit 4 of layer 1."
    )
    assert dead in of_row(browser)
    browser.evaluate("(pin({ column: 1, unit: 1, from: 0 }), show(cards.length - 1))")
    assert "∂L/∂W1[2,1] is 0: a small change of W1[2,1] does not change the loss." in browser.text("#chain")
    browser.evaluate("[0, 1, 2, 3].forEach((unit) => edit('b1', 0, unit, -9))")
    assert of_row(browser)[1] == "Row 1 changes no weight: what it adds to each gradient is 0."


def test_an_input_has_a_gradient(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("(chooseRow(1), pin({ column: 0, unit: 1 }), show(0))")
    assert "Show its gradient" in browser.text("#chain")
    browser.evaluate("document.querySelector('#chain p button').click()")
    value = f"{explanation['dL/dX'].tensor[1, 1].item():.4g}".replace("-", "−")
    lines = browser.evaluate("[...document.querySelectorAll('#chain p')].map((p) => p.textContent)")
    assert any(line.startswith("∂L/∂X[2,2] = ") and line.endswith(f" = {value}") for line in lines)


def test_half_and_twice_the_learning_rate(browse):
    explanation = xor()
    half, twice = (f"{explanation.loss_after(lr):.4g}" for lr in (0.5, 2))
    assert f"With half of α the loss would be {half}, with twice α {twice}." in browse(explanation).text("#best")


def test_what_is_left_of_the_gradient_from_layer_to_layer(browse):
    explanation = xor()
    z2, a1, z1 = (explanation[f"dL/d{name}"].tensor.norm().item() for name in ("Z2", "A1", "Z1"))
    assert browse(explanation).text("#strip-card li:last-child").startswith("layer 1")
    assert browse(explanation).text("#strip-card ul").strip() == (
        f"From layer 2 to layer 1 it becomes {z1 / z2:.3g} times as large: the weights make it {a1 / z2:.3g} times as "
        f"large, and the slopes {z1 / a1:.3g} times."
    )


def test_each_step_has_another_mask_of_the_dropout(browse):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.Dropout(0.3), torch.nn.Linear(50, 1)).double()
    explanation = torchbp.explain(model, *XOR)
    browser = browse(explanation)
    masks = browser.evaluate(
        "(takeStep(), takeStep(), takeStep(), training.steps.map(({ given }) => toLists(given.m1)))"
    )
    masks = torch.tensor(masks, dtype=torch.float64)
    torch.testing.assert_close(masks[0], explanation.values["m1"])
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 4
    torch.testing.assert_close(masks.unique(), torch.tensor([0, 1 / 0.7], dtype=torch.float64))
    assert (masks[1:] == 0).double().mean().item() == pytest.approx(0.3, abs=0.08)
    again = browser.evaluate("(startAgain(), takeStep(), toLists(training.steps[1].given.m1))")
    assert again == masks[1].tolist()


def test_a_dropout_of_channels_drops_whole_channels_in_each_step(without_checks, browse):
    browser = browse(torchbp.explain(*with_images("dropout_of_channels")))
    masks = browser.evaluate("(takeStep(), takeStep(), training.steps.map(({ given }) => toLists(given.m1)))")
    channels = torch.tensor(masks, dtype=torch.float64).reshape(3, 3, 3, 6)
    assert (channels == channels[..., :1]).all()
    assert not torch.equal(channels[1], channels[2])


USUAL = [  # of a record, what a learner computes in its place, and what is said
    ("dL/dZ2", "(y - A2)/N", "The sign is wrong."),
    ("dL/dZ2", "A2 - y", "The division by N is missing."),
    ("dL/dZ2", "dA2", "The slope A2 ∘ (1 − A2) is missing."),
    ("dL/dZ2", "(A2 - y)/N * A2 * (1 - A2)", "The slope A2 ∘ (1 − A2) is one time too many."),
    ("dL/dZ2", "A2/N", "The term y is missing in A2 − y."),
    ("dL/dZ2", "(A2 + y)/N", "The sign of y is wrong in A2 − y."),
    ("dL/dZ1", "dA1", "The slope A1 ∘ (1 − A1) is missing."),
    ("dL/dZ1", "dA1 * A1", "The factor 1 − A1 is missing."),
    ("dL/dZ1", "dA1 * (1 - A1)", "The factor A1 is missing."),
    ("dL/dZ1", "dA1 * Z1 * (1 - Z1)", "Z1 stands where A1 belongs."),
    ("dL/dW2", "dZ2ᵀ A1 / N", "It is divided by N once too often, or a mean stands where a sum belongs."),
    ("dL/dW2", "dA2ᵀ A1", "∂L/∂A2 stands where ∂L/∂Z2 belongs."),
    ("dL/dW2", "dZ2ᵀ Z1", "Z1 stands where A1 belongs."),
    ("dL/db2", "sum(dZ2)/N", "It is divided by N once too often, or a mean stands where a sum belongs."),
    ("dL/dA1", "dZ2 dW2", "∂L/∂W2 stands where W2 belongs."),
    ("W1′", "W1 + α dW1", "The sign of α ∂L/∂W1 is wrong in W1 − α ∂L/∂W1."),
    ("W1′", "W1 - dW1", "The factor α is missing."),
]


def test_the_seventeen_usual_mistakes_are_named_by_their_numbers(browse):
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    explanation = torchbp.explain(model, torch.randn(5, 2), torch.rand(5, 1), lr=0.7)
    browser = browse(explanation)
    browser.click("#examine")
    for name, formula, says in USUAL:
        browser.evaluate(f"show({at(explanation, name)})")
        number = browser.evaluate(
            f"entry(valueOf(formulaOf('{formula}', namesBefore(askedPlace().record)), training.values), "
            "...askedPlace().at).toPrecision(8)"
        )
        assert answer(browser, number) == says, (name, formula)
    browser.evaluate(f"show({at(explanation, 'dL/dW1')})")
    shares = browser.evaluate("sharesOfRows(program.trees['dL/dW1'], ...askedPlace().at)")
    assert answer(browser, sum(shares) - shares[1]) == "Row 2 is left out of the sum over the rows."
    assert answer(browser, shares[3]) == "This is what row 4 adds, and not the sum over the rows."


def panel(browser):
    return browser.evaluate("[...document.querySelectorAll('#chain p')].map((p) => p.textContent)")


def loss_without(model, x, y, weight, unit):
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed[weight].weight[:, unit] = 0
    return torchbp.explain(changed, x, y).loss


def test_what_a_unit_does_is_said_and_drawn(browse):
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    explanation = torchbp.explain(model, *XOR)
    browser = browse(explanation)
    a1 = explanation["A1"].tensor[:, 2]
    browser.evaluate("(show(cards.length - 1), pin({ column: 1, unit: 2 }))")
    high, low = (f"in row {at + 1}, {a1[at].item():.4g}" for at in (int(a1.argmax()), int(a1.argmin())))
    assert f"The output of this unit is largest {high}, and smallest {low}." in panel(browser)
    without = f"{loss_without(model, *XOR, 2, 2):.4g} and not {explanation.loss:.4g}."
    assert f"Without this unit, its weights in W2 all 0, L would be {without}" in panel(browser)
    assert browser.evaluate("document.querySelectorAll('#chain canvas').length") == 1
    browser.evaluate("(training.values.A1.numbers[2] = NaN, showChain())")
    assert not [line for line in panel(browser) if "largest" in line]
    browser.evaluate("(unpin(), pin({ column: 0, unit: 1 }))")
    without = f"{loss_without(model, *XOR, 0, 1):.4g} and not {explanation.loss:.4g}."
    assert f"Without this input, its weights in W1 all 0, L would be {without}" in panel(browser)
    browser.evaluate("(show(0), unpin(), pin({ column: 2, unit: 0 }))")
    assert not [line for line in panel(browser) if "Without" in line or "largest" in line]  # it is not computed yet


def test_the_row_that_adds_most_to_a_gradient_is_named(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("(show(cards.length - 1), pin({ column: 2, unit: 0, from: 3 }))")
    shares = explanation["dL/dZ2"].tensor[:, 0] * explanation["A1"].tensor[:, 3]
    most = int(shares.abs().argmax())
    assert f"Row {most + 1} adds the most to it, {shares[most].item():.4g}.".replace("-", "−") in panel(browser)


def test_learning_rates_are_compared(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.click("#compare")
    torch.manual_seed(0)
    model = torchbp.nn.MLP(2, 4, 1, dtype=torch.float64)
    found = [
        f"{torchbp.explain(model, *XOR, lr=lr, steps=11).steps[10].loss:.4g} with α = {lr:g}" for lr in (0.5, 1, 2, 10)
    ]
    assert browser.text("#ahead") == f"After 10 more steps L is {', '.join(found)}."
    browser.click("#one")
    assert browser.text("#ahead") == ""
    assert browser.evaluate("training.steps.length") == 2


def test_learning_rates_are_compared_at_the_last_step_that_the_page_holds(browse):
    browser = browse(xor())
    first = browser.evaluate("lossAfter(10, 0.5)")
    browser.evaluate("(training.steps = Array(MOST_STEPS + 1).fill(training.steps[0]), training.at = MOST_STEPS)")
    assert browser.evaluate("lossAfter(10, 0.5)") == first
    assert not browser.evaluate("takeStep()")
    assert browser.evaluate("training.why") == "The page holds 20000 steps."


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_the_rows_that_are_answered_rightly_are_counted(browse, outputs):
    torch.manual_seed(6)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, outputs)).double()
    x, y = torch.randn(9, 2, dtype=torch.float64), torch.rand(9, outputs).round().double()
    loss = None
    if outputs == 3:
        y, loss = y.argmax(1), torch.nn.CrossEntropyLoss()
    browser = browse(torchbp.explain(model, x, y, loss=loss))
    with torch.no_grad():
        z = model(x)
    right = (z.argmax(1) == y if outputs == 3 else ((z > 0) == (y > 0.5)).all(1)).sum().item()
    assert browser.text("#rows-right") == f"{right} of 9 rows {'is' if right == 1 else 'are'} answered rightly."
    regression = torchbp.explain(model, x, torch.randn(9, outputs), loss=torch.nn.MSELoss())
    assert browse(regression).text("#rows-right") == ""


def test_the_network_is_asked_about_another_row(browse):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sigmoid(), torch.nn.Linear(2, 2)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    explanation = torchbp.explain(model, x, torch.rand(4, 2), features=["a", "b", "c"], outputs=["up", "down"])
    browser = browse(explanation)
    browser.evaluate("(byId('ask-network').open = true, takeStep(), goTo(1))")
    browser.evaluate(
        "document.querySelectorAll('#asked-row input').forEach((input, i) => "
        "{ input.value = [0.5, -2, 7][i]; input.dispatchEvent(new Event('input')); })"
    )
    model.load_state_dict(explanation.updated)
    with torch.no_grad():
        up, down = model(torch.tensor([0.5, -2, 7], dtype=torch.float64)).sigmoid().tolist()
    assert browser.text("#its-answer") == f"A2[1,1] (up) = {up:.4g}, A2[1,2] (down) = {down:.4g}"
    asked = "[...byId('asked-row').children].map((label) => label.textContent.trim())"
    assert browser.evaluate(asked) == ["a", "b", "c"]
    browser = browse(cancer())  # of 30 inputs 8 are drawn
    assert browser.evaluate(asked) == [f"measurement number {i}" for i in range(30)]


@pytest.mark.parametrize("kind", ["batch norm", "attention", "attention to one row", "dropout"])
def test_where_rows_are_not_apart_no_other_row_is_asked_about_and_no_map_drawn(browse, kind):
    """The answer to a row depends on the rows beside it, or on a mask that is drawn for each row."""
    torch.manual_seed(0)
    middle = {"batch norm": torch.nn.BatchNorm1d(2), "dropout": torch.nn.Dropout(0.5)}.get(kind, AttentionHead(2, 2))
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), middle, torch.nn.Linear(2, 1)).double()
    x, y = XOR if kind != "attention to one row" else (XOR[0][:1], XOR[1][:1])
    browser = browse(torchbp.explain(model, x, y))
    assert browser.evaluate("byId('ask-network').hidden && byId('answers').hidden")
    browser.evaluate("(show(cards.length - 1), pin({ column: 1, unit: 0 }))")
    assert browser.evaluate("document.querySelectorAll('#chain svg').length") == 0
    browser = browse(xor())
    assert not browser.evaluate("byId('ask-network').hidden || byId('answers').hidden")
