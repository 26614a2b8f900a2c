"""A unit, a weight or the loss that is held in the panel; the address; the exercise; a nudge by hand."""

import re

import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, cancer, large, xor
from torchbp.explanation.grading.mistakes import mistakes
from torchbp.explanation.notation.records import sentence
from torchbp.explanation.render.plain_text import partial


def at(explanation, name):
    return [record.name for record in explanation.records].index(name)


def focus(browser, label):
    browser.evaluate(f"document.querySelector(\"#network [aria-label^='{label}']\").focus()")


def test_a_pinned_weight_stays_while_the_pointer_and_the_steps_move_on(browse):
    browser = browse(xor())
    focus(browser, "W1[2,1] ")
    browser.press("Enter")
    browser.hover("#network .unit[aria-label^='Unit 1 of layer 2'] rect")
    assert "W1[2,1]" in browser.text("#chain h3")
    browser.press("End")
    assert "W1[2,1]" in browser.text("#chain h3")
    browser.click("#chain h3 button")
    browser.hover("#network .unit[aria-label^='Unit 2 of layer 1'] rect")
    assert browser.text("#chain h3").startswith("Unit 2 of layer 1")
    browser.click("#network .unit[aria-label^='Unit 3 of layer 1'] rect")
    browser.hover("#network .unit[aria-label^='Unit 2 of layer 1'] rect")
    assert browser.text("#chain h3").startswith("Unit 3 of layer 1")


def test_the_panel_shows_what_is_computed_up_to_the_step_on_the_screen(browse):
    explanation = xor()
    browser = browse(explanation)
    focus(browser, "W1[2,1] ")
    browser.press("Enter")
    assert "∂L" not in browser.text("#chain")
    gradient = at(explanation, "dL/dW1")
    browser.evaluate("document.querySelector('#chain p button').click()")
    assert browser.evaluate("state.step") == gradient
    assert "∂L/∂W1[2,1] = " in browser.text("#chain")
    assert "W1′" not in browser.text("#chain")
    browser.press("End")
    new = explanation["W1′"].tensor[1, 0].item()
    assert re.search(rf"W1′\[2,1\] = .* = {new:.4g}".replace("-", "−"), browser.text("#chain"))
    focus(browser, "Unit 2 of layer 1")
    browser.press("Enter", "Home")
    assert re.search(r"Z1\[1,2\] = ", browser.text("#chain"))
    assert "A1" not in browser.text("#chain")
    browser.press("End")
    value = f"{explanation['A1′'].tensor[0, 1].item():.4g}"
    assert re.search(rf"A1′\[1,2\] = σ\(.*\) = {value}", browser.text("#chain"))


@pytest.mark.parametrize("explanation", [xor, cancer])
def test_the_way_from_the_loss_to_a_weight_is_whole(browse, explanation):
    """One level for each layer from the output down, each beginning with what the one before it ended with."""
    explanation = explanation()
    browser = browse(explanation)
    browser.evaluate("(pin({ column: 1, unit: 1, from: 1 }), show(cards.length - 1))")
    levels = browser.evaluate("[...document.querySelectorAll('#chain .path li')].map((li) => li.textContent)")
    assert len(levels) == 2
    assert levels[0].startswith("∂L/∂A2[1,1] = ")
    assert levels[1].startswith("∂L/∂A1[1,")
    through = re.search(r"∂L/∂A1\[1,\d+\] = (.*?) = ", levels[1])[1]
    assert "·" in through
    unit, below = browser.evaluate("weightIndex(1, 1, 1)")
    total = explanation["dL/dW1"].tensor[unit, below].item()
    if len(explanation.values["X"]) == 1:
        assert browser.text("#chain .tile.result:last-child small") == "∂L/∂Z2[1,1]"
        last = browser.evaluate("[...document.querySelectorAll('#chain .tile.result')].at(-1).innerText.split('\\n')")
    else:
        lines = browser.evaluate("[...document.querySelectorAll('#chain p')].map((p) => p.textContent)")
        (line,) = (line for line in lines if re.match(r"∂L/∂W1\[\d,\d\] = ", line))
        last = [line.split(" = ")[0], line.split(" = ")[-1]]
    assert last[0] == f"∂L/∂W1[{unit + 1},{below + 1}]"
    assert float(last[1].replace("−", "-")) == pytest.approx(total, rel=1e-3)


def test_the_loss_is_a_node(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("loss.box.focus()")
    browser.press("Enter")
    assert "Show the loss" in browser.text("#chain")
    browser.evaluate("document.querySelector('#chain p button').click()")
    assert f"= {explanation.loss:.4g}" in browser.text("#chain")
    browser.press("End")
    assert f"= {explanation.new_loss:.4g}" in browser.text("#chain")


def test_text_table_picture_and_row_speak_of_the_pinned_element(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.click("#rows label:nth-of-type(3) input")
    browser.evaluate(f"(pin({{ column: 1, unit: 2 }}), show({at(explanation, 'A1')}))")
    value = f"{explanation['A1'].tensor[2, 2].item():.4g}"
    assert browser.text(".step.shown .numbers").startswith("A1[3,3] = σ(")
    assert browser.text(".step.shown .numbers").endswith(value)
    assert browser.text(".step.shown td.chosen") == value
    assert "A1[3,3] = σ(" in browser.text("#chain")
    browser.evaluate(f"(pin({{ column: 1, unit: 2, from: 0 }}), show({at(explanation, 'dL/dW1')}))")
    assert browser.text(".step.shown .numbers").startswith("∂L/∂W1[3,1] = ")
    assert browser.evaluate("document.querySelectorAll('.step.shown td.chosen').length") == 1


def test_the_address_holds_and_restores_what_is_on_the_screen(browse, tmp_path):
    browser = browse(xor())
    browser.click("#rows label:nth-of-type(2) input")
    browser.evaluate("pin({ column: 1, unit: 2 })")
    browser.evaluate("document.activeElement.blur()")
    browser.press("ArrowRight", "ArrowRight")
    assert browser.evaluate("location.hash") == "#step=3&row=2&unit=A1.3"
    browser.click("#one")
    browser.press("ArrowRight")
    address = browser.evaluate("location.hash")
    assert address == "#step=4&row=2&unit=A1.3&trained=1"
    browser.evaluate("location.hash = 'step=10&row=4&unit=W1.2.1&trained=3'")
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert browser.text("#at").startswith("10 of")
    assert browser.evaluate("[state.row, training.at, document.querySelectorAll('#rows input')[3].checked]") == [
        3,
        3,
        True,
    ]
    assert "W1[2,1]" in browser.text("#chain h3")
    for wrong in ("step=99&row=99&unit=Q.1", "step=x", "unit=A1.77", ""):
        browser.evaluate(f"location.hash = {wrong!r}")
        browser.evaluate("new Promise((done) => setTimeout(done, 20))")
    assert browser.text("#at").startswith("1 of")


def test_the_address_is_that_of_the_step_on_the_screen_and_of_a_changed_training_there_is_none(browse):
    browser = browse(xor())
    browser.click("#one")
    browser.click("#one")
    assert browser.evaluate("location.hash").endswith("&trained=2")
    browser.evaluate("(goTo(1), byId('time').dispatchEvent(new Event('change')))")
    assert browser.evaluate("location.hash").endswith("&trained=1")
    browser.evaluate("edit('W2', 0, 0, 3)")
    assert "trained" not in browser.evaluate("location.hash")
    browser.click("#again")
    browser.evaluate("location.hash = 'trained=0'")
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert browser.evaluate("training.at") == 0


def test_a_nudged_weight_measures_its_gradient(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.evaluate("(pin({ column: 1, unit: 2, from: 0 }), show(cards.length - 1))")
    browser.evaluate(
        "[...document.querySelectorAll('#chain button')].find((b) => b.textContent.startsWith('Nudge')).click()"
    )
    measured = float(browser.text("#chain .measured").split(" = ")[1].replace("−", "-"))
    assert measured == pytest.approx(explanation["dL/dW1"].tensor[2, 0].item(), rel=1e-3)


def test_a_weight_may_be_changed_in_the_panel(browse):
    browser = browse(xor())
    browser.evaluate("(pin({ column: 1, unit: 2, from: 0 }), show(0))")
    browser.evaluate("(() => { const i = byId('weight-value'); i.value = 4; i.dispatchEvent(new Event('change')); })()")
    assert "W1[3,1] = 4" in browser.text("#chain h3")
    assert browser.evaluate("entry(training.values.W1, 2, 0)") == 4


def answer(browser, number):
    browser.evaluate(f"byId('guess').value = '{number}'")
    browser.evaluate("byId('question').requestSubmit()")
    return browser.text("#verdict")


def test_the_exercise_hides_a_number_and_says_what_is_wrong(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.click("#examine")
    hidden = "[...document.querySelectorAll('.step.shown :is(.numbers, td)')].some((e) => e.offsetParent)"
    browser.evaluate(f"show({at(explanation, 'dL/dZ2')})")
    assert not browser.evaluate(hidden)
    assert browser.evaluate("units[2][0].delta.textContent").startswith("∂")  # of dL/dA2, which is known
    value = explanation["dL/dZ2"].tensor[0, 0].item()
    assert browser.text("#asked").startswith("What is ∂L/∂Z2[1,1]?")
    assert answer(browser, -value) == "The sign is wrong."
    assert answer(browser, 4 * value) == "The division by N is missing."
    a = explanation["A2"].tensor[0, 0].item()
    assert answer(browser, explanation["dL/dA2"].tensor[0, 0].item() * a) == "The factor 1 − A2 is missing."
    assert answer(browser, explanation["dL/dZ2"].tensor[1, 0].item()) == "This is ∂L/∂Z2[2,1]."
    assert answer(browser, 1.05 * value).startswith("Almost")
    assert answer(browser, 77).startswith("No.")
    assert answer(browser, f"{value:.3g}") == "Right."
    assert browser.evaluate(hidden)
    browser.press("Escape")
    browser.evaluate(f"show({at(explanation, 'W1′')})")
    place = browser.evaluate("askedPlace().at")
    w, dw = (explanation[name].tensor for name in ("W1′", "dL/dW1"))
    new = w[*place].item()
    assert answer(browser, new + 2 * dw[*place].item()) == "The sign of α ∂L/∂W1 is wrong in W1 − α ∂L/∂W1."
    assert answer(browser, new) == "Right."
    browser.click("#reveal")
    assert browser.evaluate(hidden)
    browser.click("#examine")
    assert not browser.evaluate("byId('question').offsetParent")


def test_a_division_by_n_is_missing_where_there_is_one(browse):
    torch.manual_seed(0)
    loss = torch.nn.BCEWithLogitsLoss(reduction="sum")
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), *XOR, loss=loss)
    browser = browse(explanation)
    browser.click("#examine")
    browser.evaluate(f"show({at(explanation, 'dL/dW2')})")
    value = browser.evaluate("entry(training.values['dL/dW2'], ...askedPlace().at)")
    assert answer(browser, 4 * value) == "It is N times too large."


def test_each_mistake_of_the_page_is_the_one_that_it_names(browse):
    """A mistake is an edit of the equation's tree: what the page evaluates is the wrong tree's value in Python."""
    torch.manual_seed(0)
    explanation = torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), *XOR, lr=0.7)
    browser = browse(explanation)
    count = 0
    for record in explanation.records:
        made = {said: m.tree for side in record.sides for said, m in named(side)}
        found = browser.evaluate(
            f"wrongValues({{ name: '{record.name}' }}).map(([says, value]) => [says, toLists(value)])"
        )
        for says, value in found:
            expected = torch.as_tensor(
                made[says.lower().removesuffix(".")].evaluate(explanation.step.symbols), dtype=torch.float64
            )
            computed = torch.tensor(value, dtype=torch.float64).reshape(expected.shape)
            torch.testing.assert_close(computed, expected)
            assert not torch.allclose(computed, record.tensor)
            count += 1
    assert count > 50


def named(side):
    return [(sentence(mistake.parts, partial).lower(), mistake) for mistake in mistakes(side, {})]


def test_a_large_network_has_a_panel_too(browse):
    browser = browse(large())
    browser.evaluate("(pin({ column: 2, unit: 1, from: 1 }), show(cards.length - 1))")
    assert browser.evaluate("document.querySelectorAll('#chain .path li').length") == 2
    assert not browser.evaluate("byId('examine').offsetParent")
    browser.evaluate("pin({ column: 1, unit: 1 })")
    assert "∂L/∂A1[1," in browser.text("#chain")


@pytest.mark.parametrize(("width", "height"), [(1366, 650), (400, 800)])
def test_the_panel_is_on_the_screen_with_the_drawing(browse, width, height):
    browser = browse(cancer(), width=width, height=height)
    browser.evaluate("(pin({ column: 1, unit: 1, from: 1 }), show(cards.length - 1))")
    browser.evaluate("units[1][0].group.scrollIntoView({ block: 'start' })")
    browser.evaluate("scrollBy(0, -120)")
    box = browser.evaluate("(() => { const r = byId('chain').getBoundingClientRect(); return [r.top, r.bottom]; })()")
    assert 0 <= box[0] < box[1] <= height


def test_the_equation_of_the_step_is_always_on_the_screen(browse):
    explanation = xor()
    browser = browse(explanation, width=400, height=800)
    browser.evaluate("scrollTo(0, 300)")
    browser.press("ArrowRight")
    assert browser.text("#equation") == explanation.records[1].equation
    box = browser.evaluate(
        "(() => { const r = byId('equation').getBoundingClientRect(); return [r.top, r.bottom]; })()"
    )
    assert 0 <= box[0] < box[1] <= 800


def test_the_weight_that_is_most_to_blame_is_followed_with_one_click(browse):
    browser = browse(xor())
    browser.click(".follow")
    explanation = xor()
    assert explanation.records[browser.evaluate("state.step")].name.startswith("dL/dW")
    assert browser.evaluate("state.pinned")
    assert browser.text("#chain h3").startswith("Weight W")
    assert browser.text(".step.shown td.chosen")


@pytest.mark.parametrize("width", [400, 1280])
def test_biases_are_drawn_under_their_units(browse, width):
    explanation = xor()
    browser = browse(explanation, width=width)
    shown = lambda: browser.evaluate("units[1].map(({ bias }) => bias.textContent)")  # noqa: E731
    bias = explanation.values["b1"].tolist()
    assert shown() == [f"b1 {value:.3g}".replace("-", "−") for value in bias]
    assert browser.evaluate("units[0].every(({ bias }) => bias === null)")
    browser.press("End")
    assert shown() == [f"b1′ {value:.3g}".replace("-", "−") for value in explanation["b1′"].tensor.tolist()]
    over = """(() => { const boxes = [...document.querySelectorAll("#network text")].filter((t) => t.textContent)
      .map((t) => t.getBoundingClientRect());
      return boxes.some((a, i) => boxes.some((b, j) => i < j && a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 4 && b.top < a.bottom - 4)); })()"""
    assert not browser.evaluate(over)


def test_the_way_goes_through_the_unit_that_most_of_the_gradient_comes_through(browse):
    torch.manual_seed(2)
    net = torchbp.nn.MLP(2, 3, 4, 3, dtype=torch.float64)
    explanation = torchbp.explain(net, torch.randn(3, 2), torch.rand(3, 3))
    browser = browse(explanation)
    browser.evaluate("(show(cards.length - 1), chooseRow(1))")
    for unit in range(3):
        shares = explanation["dL/dZ2"].tensor[1] * explanation.values["W2"][:, unit]
        second = shares.abs().argmax().item()
        third = (explanation["dL/dZ3"].tensor[1] * explanation.values["W3"][:, second]).abs().argmax().item()
        path = browser.evaluate(f"strongestPath(1, {unit}).map((at) => [at.column, at.unit])")
        assert path == [[1, unit], [2, second], [3, third]]
        browser.evaluate(f"pin({{ column: 1, unit: {unit} }})")
        levels = browser.evaluate("[...document.querySelectorAll('#chain .path li')].map((li) => li.textContent)")
        assert f"∂L/∂A1[2,{unit + 1}] = " in levels[2]
        assert f"strongest comes through unit {second + 1} of layer 2" in levels[2]
        assert f"∂L/∂A2[2,{second + 1}] = " in levels[1]
    browser.evaluate("pin({ column: 2, unit: 1, from: 2 })")
    assert browser.text("#chain h3").startswith("Weight W2[2,3] = ")
    assert "from unit 3 of layer 1" in browser.text("#chain h3")


def test_the_exercise_asks_for_shapes_too(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.click("#examine")
    browser.evaluate("(byId('kind').value = 'shape', byId('kind').dispatchEvent(new Event('change')))")
    hidden = "getComputedStyle(document.querySelector('.step.shown .shape')).visibility === 'hidden'"

    def asked(name):
        browser.evaluate(f"show({at(explanation, name)})")
        assert browser.evaluate(hidden)

    asked("dL/dW1")
    assert browser.text("#asked").startswith("What is the shape of ∂L/∂W1?")
    assert answer(browser, "2×4") == "Rows and columns are exchanged."
    assert answer(browser, "3, 4") == "No. A gradient has the shape of what it is the derivative by."
    assert answer(browser, "(4, 2)") == "Right."
    assert not browser.evaluate(hidden)
    asked("A2")
    assert answer(browser, "2x1") == "No. It has a row for each of the 4 samples."
    assert answer(browser, "4x3") == "No. It has a column for each unit of its layer."
    assert answer(browser, "4x1") == "Right."
    asked("dL/db1")
    assert answer(browser, "4×4").startswith("No. A gradient")
    assert answer(browser, "4") == "Right."
    asked("b1′")
    assert answer(browser, "1×4") == "No. A step changes the numbers of a parameter, and not its shape."
    browser.evaluate(f"show({at(explanation, 'L')})")
    assert browser.text("#asked").startswith("What is L? ")


def test_the_exercise_asks_for_a_part_of_a_formula(browse):
    explanation = xor()
    browser = browse(explanation)
    browser.click("#examine")
    browser.evaluate("(byId('kind').value = 'part', byId('kind').dispatchEvent(new Event('change')))")
    hidden = (
        "[...document.querySelectorAll('.step.shown :is(.equation, .why, .numbers)')].every((e) => !e.offsetParent)"
    )

    def asked(name, gap):
        """The gap with this text is asked for."""
        browser.evaluate(f"(turn = 0, show({at(explanation, name)}))")
        while gap not in browser.text("#asked"):
            browser.evaluate("(turn += 1, show(state.step))")
            assert browser.evaluate("turn") < 5

    asked("dL/dZ1", "∂L/∂Z1 = ∂L/∂A1 ∘ ▢ ∘ (1 − A1)")
    assert browser.evaluate(hidden)
    assert "A1 ∘ (1" not in browser.evaluate("byId('now').textContent + byId('equation').textContent")
    choices = browser.evaluate("[...document.querySelectorAll('#choices button')].map((b) => b.textContent)")
    assert choices == sorted(choices)
    assert "A1" in choices
    assert answer(browser, "1") == "The factor A1 is missing."
    assert answer(browser, "Z1") == "Z1 does not belong there."
    assert answer(browser, "-A1") == "The sign is wrong."
    assert answer(browser, "dW1") == "“dW1” is not known here, or stands in the wrong place."
    assert answer(browser, "A1*A1/A1") == "Right: it gives the same as A1."
    assert not browser.evaluate(hidden)
    asked("dL/dZ2", "∂L/∂Z2 = ▢/N")
    assert answer(browser, "(A2 - y)*N") == "The division by N is missing."
    assert answer(browser, "(A2 − y)/N") == "It is divided by N twice."
    assert answer(browser, "y - A2") == "The sign is wrong."
    assert answer(browser, "A2 - y") == "Right."
    asked("dL/dW2", "∂L/∂W2 = ▢ A1")
    assert answer(browser, "dZ2").startswith("The shapes do not fit: 4×1 and 4×4. Is a transpose missing")
    assert answer(browser, "(dA2)ᵀ") == "∂L/∂A2 does not belong there."
    browser.click("#reveal")
    assert browser.text("#verdict") == "It is (∂L/∂Z2)ᵀ."
    asked("W1′", "W1′ = W1 − ▢")
    browser.evaluate("[...document.querySelectorAll('#choices button')].find((b) => b.textContent === 'α').click()")
    assert browser.text("#verdict") == "The factor ∂L/∂W1 is missing."
    browser.evaluate("byId('choices').querySelector('button').click()")
    browser.evaluate(f"show({at(explanation, 'A1′')})")  # by the same equation as A1
    assert browser.text("#asked").startswith("What is A1′[1,")


def test_every_choice_of_every_gap_is_judged(browse):
    """One of them is right, and of each other it is said what is wrong."""
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.GELU(), torch.nn.Linear(4, 3), torch.nn.Tanh()
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    loss = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]))
    explanation = torchbp.explain(net.double(), torch.randn(5, 3), [0, 1, 2, 2, 1], loss=loss, optimizer=optimizer)
    browser = browse(explanation)
    browser.evaluate("(byId('examine').click(), byId('kind').value = 'part')")
    found = browser.evaluate(
        """data.steps.flatMap(({ name }, step) => (show(step), program.gaps[name] ?? []).flatMap((_, gap) => {
          turn = gap;
          ask();
          const { right, wrong, text } = gapAsked();
          return [right, ...wrong.keys()].map((choice, i) => [text, choice, i === 0, verdictOfPart(choice)]);
        }))"""
    )
    assert len(found) > 150
    for text, choice, is_right, says in found:
        assert bool(says.get("right")) == is_right, (text, choice, says)
        assert not says["says"].startswith("No."), (text, choice)
