"""A learner's backward pass with one mistake: it is found where it is, and named."""

import numpy as np
import pytest
import torch

import torchbp
from torchbp.explanation.grading.mistakes import mistakes
from torchbp.explanation.notation.records import sentence
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

N, K, LR = 5, 3, 0.5
RIGHT = {
    "sigmoid": {"A1": "1 / (1 + np.exp(-Z1))", "dZ1": "dA1 * A1 * (1 - A1)"},
    "tanh": {"A1": "np.tanh(Z1)", "dZ1": "dA1 * (1 - A1**2)"},
    "relu": {"A1": "np.maximum(Z1, 0)", "dZ1": "dA1 * (A1 > 0)"},
}
LINES = {
    "Z1": "X @ W1.T + b1",
    "A1": None,
    "Z2": "A1 @ W2.T + b2",
    "A2": "1 / (1 + np.exp(-Z2))",
    "L": "-np.mean(y * np.log(A2) + (1 - y) * np.log(1 - A2))",
    "dA2": "(A2 - y) / (A2 * (1 - A2)) / (N * K)",
    "dZ2": "(A2 - y) / (N * K)",
    "dW2": "dZ2.T @ A1",
    "db2": "dZ2.sum(0)",
    "dA1": "dZ2 @ W2",
    "dZ1": None,
    "dW1": "dZ1.T @ X",
    "db1": "dZ1.sum(0)",
    "W1_new": "W1 - lr * dW1",
    "W2_new": "W2 - lr * dW2",
    "b1_new": "b1 - lr * db1",
    "b2_new": "b2 - lr * db2",
}
MISTAKES = [  # the usual ones: of which activation, in which line, the code, and what the cause says
    ("sigmoid", "dZ2", "(y - A2) / (N * K)", "the sign is wrong"),
    ("sigmoid", "dZ2", "A2 - y", "it is N K = 15 times too large: the division by N K is missing"),
    ("sigmoid", "dZ2", "(A2 - y) / N", "it is K = 3 times too large: the division by K is missing"),
    ("sigmoid", "dZ2", "(A2 - y) / (N * K) * A2 * (1 - A2)", "the slope A2 ∘ (1 − A2) is one time too many"),
    ("sigmoid", "dZ2", "A2 / (N * K)", "the term y is missing in A2 − y"),
    ("sigmoid", "dZ2", "(A2 + y) / (N * K)", "the sign of y is wrong in A2 − y"),
    ("sigmoid", "dZ2", "(Z2 - y) / (N * K)", "Z2 stands where A2 belongs"),
    ("sigmoid", "dZ1", "dA1", "the slope A1 ∘ (1 − A1) is missing"),
    ("sigmoid", "dZ1", "dA1 * A1", "the factor 1 − A1 is missing"),
    ("sigmoid", "dZ1", "dA1 * (1 - A1)", "the factor A1 is missing"),
    ("sigmoid", "dZ1", "dA1 * A1 * (1 + A1)", "the sign of A1 is wrong in 1 − A1"),
    ("sigmoid", "dZ1", "dA1 * Z1 * (1 - Z1)", "Z1 stands where A1 belongs"),
    ("sigmoid", "dZ1", "dA1 * A2 * (1 - A2)", "A2 stands where A1 belongs"),
    ("sigmoid", "dZ1", "dZ2 * A1 * (1 - A1)", "dL/dZ2 stands where dL/dA1 belongs"),
    ("sigmoid", "dZ1", "-A1 * (1 - A1)", "the factor dL/dA1 is missing, and the sign is wrong"),
    ("sigmoid", "dZ1", "dA1 * 0", "it is 0 everywhere"),
    ("tanh", "dZ1", "dA1 * (1 - A1)", "the exponent 2 is missing"),
    ("tanh", "dZ1", "dA1 * (1 - Z1**2)", "Z1 stands where A1 belongs"),
    ("tanh", "dZ1", "dA1 * (1 + A1**2)", "the sign of A1² is wrong in 1 − A1²"),
    ("relu", "dZ1", "dA1", "the factor [A1 > 0] is missing"),
    ("relu", "dZ1", "dA1 * (Z1 < 0)", "is the wrong way round"),
    ("relu", "dZ1", "dA1 * A1", "A1"),
    ("sigmoid", "dW2", "A1.T @ dZ2", "it is the transpose of the right value"),
    ("sigmoid", "dW2", "dZ2.T @ X", "X stands where A1 belongs"),
    ("sigmoid", "dW2", "dZ2.T @ A2", "A2 stands where A1 belongs"),
    ("sigmoid", "dW2", "dZ2.T @ A1 / N", "it is N = 5 times too small: it is divided by it once too often"),
    ("sigmoid", "dW2", "dZ2[1:].T @ A1[1:]", "row 1 is left out of the sum over the rows"),
    ("sigmoid", "dW2", "2 * dZ2.T @ A1", "it is twice too large: a factor ½ is missing"),
    ("sigmoid", "dW2", "dZ2.T @ A1 * [1, 1, 0]", "column 3 is 0, and the others are right"),
    ("sigmoid", "dW2", "dA2.T @ A1", "dL/dA2 stands where dL/dZ2 belongs"),
    ("sigmoid", "dW2", "0.7 * dZ2.T @ A1", "it is 0.7 times the right value"),
    ("sigmoid", "db2", "dZ2.mean(0)", "it is N = 5 times too small: it is divided by it once too often, or a mean"),
    ("sigmoid", "db2", "dZ2", "the sum over the rows is missing"),
    ("sigmoid", "db2", "dZ2.sum(1)", "its shape is 5, and not 3"),
    ("sigmoid", "db2", "dZ2[0]", "row 1 stands there alone"),
    ("sigmoid", "db2", "dA2.sum(0)", "dL/dA2 stands where dL/dZ2 belongs"),
    ("sigmoid", "dA1", "dZ2 @ W2.T", "W2ᵀ stands where W2 belongs"),
    ("sigmoid", "dA1", "dZ2 @ (W2 - lr * dW2)", "W2′ stands where W2 belongs: the update comes after the gradients"),
    ("sigmoid", "dA1", "dZ2 @ W1", "W1 stands where W2 belongs"),
    ("sigmoid", "dA1", "(W2 @ dZ2.T)", "its shape is 3×5, and not 5×3: a transpose is missing or too much"),
    ("sigmoid", "dA1", "np.where(dZ2 > 9, 0, np.inf)", "it holds nan or inf"),
    ("sigmoid", "Z1", "X @ W1.T", "the term b1 is missing in X W1ᵀ + b1"),
    ("sigmoid", "Z1", "X @ W1 + b1", "W1 stands where W1ᵀ belongs"),
    ("sigmoid", "A1", "np.tanh(Z1)", "tanh stands where σ belongs"),
    ("sigmoid", "A1", "Z1", "the function σ is missing"),
    ("sigmoid", "L", "-np.mean(y * np.log(A2))", "the term (1 − y) ln(1 − A2) is missing"),
    ("sigmoid", "L", "-np.sum(y * np.log(A2) + (1 - y) * np.log(1 - A2))", "it is N K = 15 times too large"),
    ("sigmoid", "L", "-np.mean(y * np.log10(A2) + (1 - y) * np.log10(1 - A2))", "the logarithm is of base 10"),
    ("sigmoid", "W1_new", "W1 + lr * dW1", "the sign of α dL/dW1 is wrong in W1 − α dL/dW1"),
    ("sigmoid", "W1_new", "W1 - dW1", "the factor α is missing"),
    ("sigmoid", "dZ1", "dA1 * np.exp(-A1) / (1 + np.exp(-A1))**2", "σ(A1) stands where A1 belongs"),
    ("tanh", "dZ1", "dA1 * A1 * (1 - A1)", "the slope of sigmoid, A1 ∘ (1 − A1), stands where 1 − A1² belongs"),
    ("relu", "dZ1", "dA1 * Z1", "Z1 stands where [A1 > 0] belongs"),
    ("tanh", "A1", "np.maximum(Z1, 0)", "relu stands where tanh(Z1) belongs"),
    ("sigmoid", "dA1", "dZ2 @ W2 * A1", "it is multiplied by A1, which does not belong there"),
    ("sigmoid", "dA1", "dZ2 @ W2 * (1 - A2**2)", "the factor 1 − A2² should not be there"),
    ("sigmoid", "db2", "dZ2.sum(1)", "the sum is over the units of each row, and not over the rows"),
    ("sigmoid", "db2", "dZ2.sum()", "the sum is over all numbers, and not over the rows"),
    ("sigmoid", "L", "np.mean((A2 - y)**2)", "this is the mean of (A2 − y)²"),
    ("sigmoid", "L", "np.sqrt(np.mean((A2 - y)**2))", "this is the root of the mean of (A2 − y)²"),
    ("sigmoid", "L", "-np.mean(y * np.log(A2) + (1 - y) * np.log(A2))", "A2 stands where 1 − A2 belongs"),
    ("sigmoid", "W1_new", "W1 - lr * dW2", "dL/dW2 stands where dL/dW1 belongs"),
]


def net_of(activation, *sizes):
    torch.manual_seed(1)
    net = torchbp.nn.MLP(*(sizes or (K, K, K)), activation=activation)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p))
    return net


def rows(count=N, inputs=K, outputs=K):
    torch.manual_seed(2)
    return torch.randn(count, inputs), torch.rand(count, outputs)


@pytest.fixture(scope="module")
def exercises():
    return {activation: torchbp.exercise(net_of(activation), *rows(), lr=LR) for activation in RIGHT}


def answers(given, lines):
    """What a learner's code computes."""
    names = {"np": np, "N": N, "K": K, "lr": LR, **given}
    for name, line in lines.items():
        names[name] = np.asarray(eval(line, names))
    return {name: names[name] for name in lines}


@pytest.mark.parametrize(("activation", "name", "line", "words"), MISTAKES, ids=[f"{m[1]} = {m[2]}" for m in MISTAKES])
def test_a_mistake_is_named_and_what_follows_from_it_is_not_blamed(exercises, activation, name, line, words):
    exercise = exercises[activation]
    lines = LINES | RIGHT[activation] | {name: line}
    if name == "db2":  # a shape that does not fit the next line
        del lines["b2_new"]
    if "its shape" in words and name == "dA1":
        lines = {key: lines[key] for key in list(LINES)[: list(LINES).index(name) + 1]}
    with np.errstate(all="ignore"):
        grade = exercise.grade(answers(exercise.given, lines))
    full = {"dA2": "dL/dA2", "W1_new": "W1′"}.get(name, name if name[0] != "d" else f"dL/{name}")
    assert grade.first_wrong.name == full
    assert words in " | ".join(grade.first_wrong.causes)
    assert len(grade.first_wrong.causes) == 1 or grade.first_wrong.name in ("L", "dL/db2")  # of few numbers
    if "nan" not in words:
        assert [mark.name for mark in grade.marks if mark.verdict == "wrong"] == [full]
    assert not grade.right


@pytest.mark.parametrize("activation", RIGHT)
def test_right_answers_are_right_as_arrays_and_as_tensors(exercises, activation):
    exercise = exercises[activation]
    found = answers(exercise.given, LINES | RIGHT[activation])
    assert exercise.grade(found).right
    assert exercise.grade({key: torch.tensor(value).float() for key, value in found.items()}).right
    rounded = {key: [float(f"{n:.4g}") for n in value.ravel()] for key, value in found.items() if value.ndim == 1}
    assert exercise.grade(rounded, tolerance=1e-3).right  # as they are written down by hand
    assert exercise.grade({"L": found["L"].item()}).missing[0] == "Z1"


def test_autograd_of_the_learners_own_network_is_right():
    x, y = rows()
    net = net_of("tanh")
    torch.nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
    exercise = torchbp.exercise(net, x, y)
    names = dict(zip(("dW1", "db1", "dW2", "db2"), (p.grad for p in net.parameters()), strict=True))
    grade = exercise.grade(names)
    assert grade.right, grade
    assert str(grade).startswith("dL/dW2  right\n")


def test_a_function_gets_what_is_given_by_the_names_of_its_parameters(exercises):
    exercise = exercises["sigmoid"]

    def backward(X, W1, b1, scale=1.0):
        X *= scale  # a copy
        W1 += 0
        return {"Z1": X @ W1.T + b1, "X": X}

    assert exercise.grade(backward).right
    assert exercise.grade(lambda **given: {"Z1": given["X"] @ given["W1"].T + given["b1"]}).right
    with pytest.raises(TypeError, match="the function takes 'W9', and the exercise gives X, y, W1, b1, W2, b2"):
        exercise.grade(lambda W9: {})


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"dL/dW7": 0}, ValueError, "'dL/dW7' is no quantity of this exercise; did you mean"),
        ({}, ValueError, "there is nothing to grade; give at least one of Z1, A1"),
        ([1], TypeError, r"the answers are \[1\]; give a dictionary"),
        ({"dW1": 0, "dL/dW1": 0}, ValueError, "dL/dW1 is there twice; give it once"),
        ({"W1": np.zeros((3, 3))}, ValueError, "W1 is given, and the answers have another one; after the update it is"),
        ({"dW1": "a"}, ValueError, "'a' is not known; the formula may use Z1, A1"),
        ({"dW1": object()}, TypeError, "dW1=.* is not read as numbers; give an array, a tensor or a formula"),
        ({"dW1": [1j]}, TypeError, "dW1="),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_read(exercises, wrong, error, message):
    with pytest.raises(error, match=message):
        exercises["sigmoid"].grade(wrong)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [("sigmoid", None), ("tanh", torch.nn.MSELoss()), ("relu", torch.nn.MSELoss(reduction="sum"))],
)
def test_every_mistake_that_an_equation_can_have_is_named(activation, loss):
    """By a cause that gives these numbers."""
    torch.manual_seed(3)
    exercise = torchbp.exercise(net_of(activation, 2, 3, 2), *rows(4, 2, 2), loss)
    shapes = {record.quantity: tuple(record.tensor.shape) for record in exercise.records}
    tried = 0
    for record in exercise.records:
        for mistake in mistakes(record.sides[-1], shapes):
            try:
                value = torch.as_tensor(mistake.tree.evaluate(exercise.explanation.step.symbols))
            except (RuntimeError, TypeError):
                continue
            mark = exercise.grade({record.name: value})[record.name]
            if mark.verdict == "wrong":
                assert mark.causes, (record.equation, sentence(mistake.parts))
                tried += 1
    assert tried > 100


def test_the_text_names_the_mistake_and_the_right_equation(exercises):
    exercise = exercises["sigmoid"]
    lines = LINES | RIGHT["sigmoid"] | {"dA1": "dZ2 @ W2.T"}
    text = str(exercise.grade(answers(exercise.given, dict(list(lines.items())[:-4]))))
    assert "dL/dA1  wrong: W2ᵀ stands where W2 belongs\n        dL/dA1 = dL/dZ2 W2\n" in text
    assert "dL/dW1  right from your dL/dZ1, which is wrong" in text
    assert "9 of 13 right. Mend dL/dA1 first.\nNot answered: dL/dX, W1′, b1′, W2′, b2′." in text
    assert max(map(len, text.splitlines())) <= 80
    assert "given    X (5×3), y (5×3), W1 (3×3), b1 (3), W2 (3×3), b2 (3)" in str(exercise)


def test_of_a_value_that_no_mistake_gives_the_largest_difference_is_shown(exercises):
    torch.manual_seed(4)
    mark = exercises["sigmoid"].grade({"dW1": torch.randn(3, 3)})["dL/dW1"]
    assert mark.causes == ()
    assert "no usual mistake gives it; the largest difference is at [" in str(mark)


def test_a_large_network_is_graded_too():
    """Neither each two numbers are compared, nor each row's part of every weight is in memory."""
    torch.manual_seed(5)
    exercise = torchbp.exercise(torch.nn.Linear(2000, 10), torch.randn(200, 2000), torch.rand(200, 10))
    right = exercise.explanation["dL/dW1"].tensor
    assert exercise.grade({"dW1": torch.randn(10, 2000)})["dL/dW1"].causes == ()
    x, dz = exercise.explanation.values["X"], exercise.explanation["dL/dZ1"].tensor
    one = dz[17:18].T @ x[17:18]
    assert exercise.grade({"dW1": right - one})["dL/dW1"].causes == ("row 18 is left out of the sum over the rows",)
    assert "row 18 stands there alone" in str(exercise.grade({"dW1": one})["dL/dW1"])


@pytest.mark.parametrize(
    ("loss", "name", "words"),
    [
        (torch.nn.MSELoss(reduction="sum"), "dL/dW2", "it is N = 5 times too large"),
        (torch.nn.MSELoss(), "Z1", "it is N = 5 times too large"),
        (torch.nn.CrossEntropyLoss(), "dL/dW2", "it is K = 3 times too large"),
        (torch.nn.CrossEntropyLoss(), "dL/dW2", "it is N = 5 times too large: the division by N is missing"),
    ],
)
def test_a_division_is_missing_where_there_is_one(loss, name, words):
    x, y = rows()
    exercise = torchbp.exercise(net_of("tanh"), x, y if isinstance(loss, torch.nn.MSELoss) else y.argmax(1), loss)
    times = 3 if "K" in words else 5
    right = exercise.explanation[name].tensor
    assert exercise.grade({name: times * right})[name].causes == (words,)


@pytest.mark.parametrize("cls", [rule.module_class for rule in rules(Activation).values() if rule.module_class])
def test_the_mistakes_of_any_activation_are_tried(cls):
    """In some the values do not fit, as the larger of two numbers."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), cls(), torch.nn.Linear(3, 1))
    exercise = torchbp.exercise(net, [[1.0, 2.0], [-1.0, 0.5]], [[1.0], [0.0]], torch.nn.MSELoss())
    for name in ("A1", "dL/dZ1"):
        assert exercise.grade({name: torch.randn(2, 3)})[name].verdict == "wrong"


def test_of_a_number_that_no_mistake_gives_it_is_said_what_it_is(exercises):
    loss = exercises["sigmoid"].explanation.loss
    text = str(exercises["sigmoid"].grade({"L": 1.2345678 * loss})["L"])
    assert "at it" not in text
    mark = exercises["sigmoid"].grade({"L": loss * (1 + 2e-4)})["L"]
    assert mark.where.startswith("it is ")
    assert " and not " in mark.where


@pytest.mark.parametrize("tolerance", [-1, float("nan"), 1.0])
def test_a_tolerance_is_a_share(exercises, tolerance):
    with pytest.raises(ValueError, match="must be a share of each number"):
        exercises["sigmoid"].grade({"L": 1.0}, tolerance)


SOFTMAX = {
    "np.exp(Z1) / np.exp(Z1).sum()": "the sum is over all numbers, and not over the units of each row",
    "np.exp(Z1) / np.exp(Z1).sum(0)": "the sum is over the rows, and not over the units of each row",
    "1 / (1 + np.exp(-Z1))": "sigmoid stands where exp(Z1)/(Σₖ exp(Z1)) belongs",
}


@pytest.mark.parametrize(("line", "words"), SOFTMAX.items())
def test_another_softmax_is_named(line, words):
    x, y = rows()
    exercise = torchbp.exercise(torch.nn.Linear(K, K), x, y.argmax(1), torch.nn.CrossEntropyLoss())
    a1 = eval(line, {"np": np, "Z1": exercise.explanation["Z1"].tensor.numpy()})
    assert exercise.grade({"A1": a1})["A1"].causes == (words,)
    dz1 = (a1 - np.eye(K)[y.argmax(1)]) / N
    if "sigmoid" in words:
        assert exercise.grade({"dZ1": dz1})["dL/dZ1"].causes == ("σ(Z1) stands where A1 belongs",)
    assert exercise.grade({"A1": a1, "dZ1": dz1})["dL/dZ1"].verdict == "follows"


def test_a_gradient_that_is_another_one_is_named():
    x, y = rows()
    exercise = torchbp.exercise(torch.nn.Linear(K, K), x, y.argmax(1), torch.nn.CrossEntropyLoss())
    found = exercise.grade({"dZ1": exercise.explanation["dL/dA1"].tensor})
    assert found["dL/dZ1"].causes == ("this is dL/dA1",)


def test_what_follows_from_a_wrong_shape_is_not_blamed(exercises):
    lines = LINES | RIGHT["sigmoid"] | {"dZ1": "dA1 @ (A1 * (1 - A1)).T"}
    names = list(lines)
    lines = {name: lines[name] for name in names[: names.index("db1") + 1]}
    grade = exercises["sigmoid"].grade(answers(exercises["sigmoid"].given, lines))
    assert [mark.name for mark in grade.marks if mark.verdict == "wrong"] == ["dL/dZ1"]
    assert grade["dL/dW1"].verdict == grade["dL/db1"].verdict == "follows"


def test_of_one_number_no_factor_is_guessed(exercises):
    loss = exercises["sigmoid"].explanation.loss
    assert exercises["sigmoid"].grade({"L": 1.2345678 * loss})["L"].causes == ()


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_of_an_optimizer_is_an_exercise_too(name):
    """After three steps in float32, whose gradients are almost proportional to each other: no guess is made of them."""
    x, y = rows()
    net = net_of("tanh")
    optimizer = OPTIMIZERS[name](net.parameters())
    for _ in range(4):
        exercise = torchbp.exercise(net, x, y, optimizer=optimizer) if optimizer.state else None
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
        optimizer.step()
    assert exercise.grade({asked: exercise.explanation[asked].tensor for asked in exercise.asked}).right
    assert exercise.grade({"W1_new": net[0].weight})["W1′"].verdict == "right"
    gradient = exercise.explanation["dL/dW1"].tensor.numpy()
    plain = exercise.grade({"W1_new": exercise.given["W1"] - 0.1 * gradient})["W1′"]
    assert plain.causes == ("this is plain gradient descent, W1 − α dL/dW1",)
    added = exercise.grade({"vW1_new": exercise.given["vW1"] + 2 * gradient})["vW1′"]
    assert added.verdict == "wrong"
    assert added.causes == ()
    shown = " ".join(str(exercise).split())
    assert "α = 0.1, λ = 0.01, μ = 0.9" in shown if name == "nesterov" else "ε = 1e-08, t = 4" in shown
    with pytest.raises(TypeError, match="lr"):
        torchbp.exercise(net, x, y, lr=0.1, optimizer=optimizer)


@pytest.mark.parametrize("lr", [1e-3, 1e-9])
def test_a_step_that_is_missing_is_seen_however_small_it_is(lr):
    net = net_of("tanh")
    exercise = torchbp.exercise(net, *rows(), lr=lr)
    right = exercise.explanation["W1′"].tensor
    unchanged = ("this is W1: the step is missing",)
    assert exercise.grade({"W1_new": right})["W1′"].verdict == "right"
    assert exercise.grade({"W1_new": "W1 - α dW1"})["W1′"].verdict == "right"
    for answer in (exercise.given["W1"], net[0].weight, "W1"):
        assert exercise.grade({"W1_new": answer})["W1′"].causes == unchanged
    by_hand = [[float(f"{number:.4g}") for number in row] for row in right.tolist()]
    assert exercise.grade({"W1_new": by_hand}, tolerance=1e-3)["W1′"].verdict == "right"


@pytest.mark.parametrize(("digits", "lr"), [(3, 0.1), (4, 1e-2), (6, 1e-3)])
def test_a_step_that_is_missing_is_seen_in_numbers_that_are_written_by_hand(digits, lr):
    """Where the step changes one of the digits that are written down; otherwise the two are the same."""
    exercise = torchbp.exercise(net_of("tanh"), *rows(), lr=lr)
    written = {}
    for name in ("W1", "W1′"):
        tensor = exercise.explanation.values[name]
        written[name] = [[float(f"{number:.{digits}g}") for number in row] for row in tensor.tolist()]
    assert written["W1"] != written["W1′"]
    marks = {name: exercise.grade({"W1_new": numbers}, tolerance=0.05)["W1′"] for name, numbers in written.items()}
    assert marks["W1"].causes == ("this is W1: the step is missing",)
    assert marks["W1′"].verdict == "right"


def test_a_step_of_less_than_a_digit_is_not_missing_where_digits_are_cut_off():
    """0.12349 and, after the step, 0.12351 are 0.123 and 0.124 when rounded, and both 0.123 when cut off."""
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.12349, 0.4]]))
    gradient = torchbp.explain(net, [[1.0, 2.0]], [[1.0]])["dL/dW1"].tensor[0, 0].item()
    exercise = torchbp.exercise(net, [[1.0, 2.0]], [[1.0]], lr=-2e-5 / gradient)
    assert 0.1235 < exercise.explanation.values["W1′"][0, 0] < 0.12352
    assert exercise.grade({"W1_new": [[0.123, 0.4]]}, tolerance=0.05)["W1′"].verdict == "right"
