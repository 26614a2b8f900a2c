"""What a student asks of the page: which row is most wrong, which weight matters, why is this gradient negative?"""

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, xor
from tests.explanation.test_page_following import answer, at
from torchbp.explanation.cli.lessons import LESSONS


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
