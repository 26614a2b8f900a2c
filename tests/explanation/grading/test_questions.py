"""A formula with a gap, and formulas as answers: what is right is right, and of what is wrong the mistake is named."""

import pytest
import torch

import torchbp
from tests.explanation.operations import VECTORS, with_layer
from torchbp.explanation.grading.formulas import FormulaError
from torchbp.explanation.grading.gaps import takes_places
from torchbp.explanation.render.plain_text import plain
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss


@pytest.fixture(scope="module")
def exercise():
    torch.manual_seed(1)
    return torchbp.exercise(torchbp.nn.MLP(2, 3, 2), torch.randn(4, 2), torch.rand(4, 2), lr=0.3)


def gap(exercise, name, text):
    """The question about a quantity with a text."""
    return next(question for question in exercise.questions(name) if question.text == text)


def test_every_choice_is_read_and_one_of_them_is_right(exercise):
    count = 0
    for name in exercise.asked:
        questions = exercise.questions(name)
        assert questions, name
        for question in questions:
            assert question.text.count("▢") == 1
            marks = [question.answer(choice) for choice in question.choices]
            assert [mark.verdict for mark in marks].count("right") == 1, str(question)
            assert all(mark.causes for mark in marks if mark.verdict == "wrong"), str(question)
            count += 1
    assert count > 30


def test_of_one_row_a_sum_over_the_rows_is_no_wrong_choice():
    torch.manual_seed(1)
    exercise = torchbp.exercise(torchbp.nn.MLP(2, 3, 2), torch.randn(1, 2), torch.rand(1, 2))
    for name in exercise.asked:
        for question in exercise.questions(name):
            verdicts = [question.answer(choice).verdict for choice in question.choices]
            assert verdicts.count("right") == 1, str(question)


@pytest.mark.parametrize("name", VECTORS)
def test_of_any_layer_each_question_has_one_right_choice(without_checks, name):
    """A formula whose text does not say which numbers of a row it takes is not asked, and is refused as an answer."""
    exercise = torchbp.exercise(*with_layer(name))
    for record in exercise.records:
        for question in exercise.questions(record.name):
            verdicts = [question.answer(choice).verdict for choice in question.choices]
            assert verdicts.count("right") == 1, str(question)
        formula = {record.name: plain(record.sides[-1])}
        if not takes_places(record.sides[-1]):
            assert exercise.grade(formula).right, formula
        else:
            assert not exercise.questions(record.name)
            with pytest.raises(ValueError, match=f"{record.name}=.* give the numbers"):
                exercise.grade(formula)


def test_a_small_gradient_does_not_hide_a_mistake_in_the_update():
    """α dL/dW is here a millionth of W, and a formula is judged by more digits than what one writes by hand."""
    net = torchbp.nn.MLP(2, 3, 1, dtype=torch.float64)
    with torch.no_grad():
        net[2].bias.fill_(14.0)
    exercise = torchbp.exercise(net, [[1.0, 2.0]], [[1.0]], lr=0.3)
    assert exercise.grade({"W2′": "W2 - lr dW2"}).right
    grade = exercise.grade({"W2′": "W2 - dW2"})
    assert grade["W2′"].causes == ("the factor α is missing",)


def test_the_equation_is_right_where_it_rounds_to_0():
    net = torchbp.nn.MLP(2, 3, 1, dtype=torch.float64)
    with torch.no_grad():
        net[2].bias.fill_(50.0)
    exercise = torchbp.exercise(net, [[1.0, 2.0]], [[1.0]])
    assert exercise.explanation["dL/dZ2"].tensor != 0  # and A2 is 1
    assert exercise.grade({"dZ2": "(A2 - y) / N"}).right


GAPS = [  # the gap, what is put there, and what is said of it
    ("dL/dZ1 = dL/dA1 ∘ ▢ ∘ (1 − A1)", "1", "the factor A1 is missing"),
    ("dL/dZ1 = dL/dA1 ∘ ▢ ∘ (1 − A1)", "Z1", "Z1 stands where A1 belongs"),
    ("dL/dZ1 = dL/dA1 ∘ A1 ∘ ▢", "1 + A1", "the sign of A1 is wrong in 1 − A1"),
    ("dL/dZ1 = dL/dA1 ∘ A1 ∘ ▢", "1", "the factor 1 − A1 is missing"),
    ("dL/dZ2 = ▢/(NK)", "y - A2", "the sign is wrong"),
    ("dL/dZ2 = (A2 − y)/▢", "N", "it is K = 2 times too large: the division by K is missing"),
    ("dL/dZ2 = (A2 − y)/▢", "1", "it is N K = 8 times too large: the division by N K is missing"),
    ("dL/dW1 = (dL/dZ1)ᵀ ▢", "A2", "A2 stands where X belongs"),
    ("dL/dW1 = ▢ X", "dZ1", "the shapes do not fit"),
    ("dL/dW1 = ▢ X", "dZ1.T / N", "it is N = 4 times too small"),
    ("dL/dA1 = dL/dZ2 ▢", "W2.T", "the shapes do not fit"),
    ("dL/db1 = ▢", "dZ1", "the sum over the rows is missing"),
    ("W1′ = W1 − ▢", "dW1", "the factor α is missing"),
    ("W1′ = W1 − ▢", "-lr dW1", "the sign of α dL/dW1 is wrong in W1 − α dL/dW1"),
]


@pytest.mark.parametrize(("text", "part", "cause"), GAPS)
def test_a_wrong_part_of_a_formula_is_named(exercise, text, part, cause):
    mark = gap(exercise, text.split(" = ")[0], text).answer(part)
    assert mark.verdict == "wrong"
    assert cause in " | ".join(mark.causes)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("Z1", "X W1ᵀ + b1"),
        ("Z1", "X @ W1.T + b1"),
        ("A1", "sigmoid(Z1)"),
        ("A1", "1 / (1 + exp(-Z1))"),
        ("L", "-Σ [y ln A2 + (1 - y) ln(1 - A2)] / (N K)"),
        ("dZ2", "(A2 - y) / (N * K)"),
        ("dZ2", "∂L/∂A2 ∘ A2 ∘ (1 − A2)"),
        ("dL/dW2", "dZ2ᵀ A1"),
        ("dW2", "(dL/dZ2)ᵀ A1"),
        ("db2", "sum(dZ2)"),
        ("dA1", "dZ2 W2"),
        ("dZ1", "dA1 * (A1 - A1**2)"),
        ("dZ1", "dA1 * A1 * (1 - A1) * [A1 > 0]"),
        ("W1'", "W1 - 0.3 dW1"),
        ("W1_new", "W1 − α ∂L/∂W1"),
    ],
)
def test_a_formula_is_an_answer(exercise, name, formula):
    assert exercise.grade({name: formula}).right


def test_a_wrong_formula_is_named_like_wrong_numbers(exercise):
    grade = exercise.grade({"dZ1": "dA1 A1ᵀ A1", "dW1": "dZ1 X", "dA1": "dZ2 W2 / N", "dW2": "dZ2ᵀ A1"})
    assert [mark.verdict for mark in grade.marks] == ["right", "wrong", "wrong", "wrong"]
    assert grade["dL/dW1"].causes == ("the shapes do not fit",)
    assert "it is N = 4 times too small" in grade["dL/dA1"].causes[0]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("dW1", "'dW1' is not known; the formula may use Z1"),  # what is asked for, and what comes after it
        ("foo(A1)", "'foo' is not known"),
        ("(A1 - A2", r"a bracket is missing: '\)'"),
        ("A1 +", "the formula ends too early"),
        ("A1 ∘ ∘ A1", "'∘' stands where a quantity or a number belongs"),
        ("A1)", r"there is nothing that '\)' belongs to"),
        ("", "the formula ends too early"),
        ("A1 $ A2", r"'\$' is not known"),
    ],
)
def test_what_is_no_formula_is_said_in_a_line(exercise, formula, message):
    with pytest.raises(FormulaError, match=message):
        exercise.grade({"dW1": formula})


def test_a_quantity_that_is_not_there_has_no_questions(exercise):
    with pytest.raises(ValueError, match="'dW9' is no quantity of this exercise; give one of Z1, A1"):
        exercise.questions("dW9")


@pytest.mark.parametrize("cls", [rule.module_class for rule in rules(Activation).values() if rule.module_class])
def test_the_formula_of_any_activation_has_gaps(cls):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), cls(), torch.nn.Linear(3, 2))
    exercise = torchbp.exercise(net, torch.randn(3, 2), torch.rand(3, 2), torch.nn.MSELoss())
    for question in [*exercise.questions("A1"), *exercise.questions("dZ1")]:
        assert [question.answer(choice).verdict for choice in question.choices].count("right") == 1, str(question)


@pytest.mark.parametrize("loss", [rule.name for rule in rules(Loss).values() if rule.equation and rule.slope])
def test_the_formula_of_any_loss_has_gaps(loss):
    torch.manual_seed(0)
    rule = rules(Loss)[loss]
    y = torch.tensor([0, 1, 1]) if rule.target == "classes" else torch.rand(3, 2)
    last = torch.nn.LogSoftmax(-1) if rule.target == "classes" else torch.nn.Sigmoid()
    layers = [torch.nn.Linear(2, 2), *([last] if rule.domain and rule.answers is None else [])]
    exercise = torchbp.exercise(torch.nn.Sequential(*layers), torch.randn(3, 2), y, rule.module_class())
    questions = exercise.questions("L")
    assert questions
    for question in questions:
        assert [question.answer(choice).verdict for choice in question.choices].count("right") == 1, str(question)
