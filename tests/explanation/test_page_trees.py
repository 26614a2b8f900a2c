"""What the page computes of an expression tree is what Python computes, of odd numbers too."""

import json

import pytest
import torch

import torchbp
from tests.explanation.operations import with_all
from tests.explanation.random_trees import Trees
from tests.explanation.samples import xor
from torchbp.explanation.grading.exercise import Exercise
from torchbp.explanation.grading.formulas import FormulaError, read_formula
from torchbp.explanation.render.html import program

SHAPES = [(3, 4), (2, 2), (4,), (), (3, 1)]
EVALUATE = """(() => {
  const number = (text) => (text === "-0.0" ? -0 : Number(text.replace("inf", "Infinity")));
  return %s.map(([tree, places, values]) => {
    program.places = places;
    const known = Object.entries(values).map(([name, [rows, columns, texts]]) =>
      [name, matrix(rows, columns, Float64Array.from(texts, number))]);
    return [...valueOf(tree, Object.fromEntries(known)).numbers].map((n) => String(n).replace("Infinity", "inf"));
  });
})()"""


def written(tensor):
    rows = tensor.reshape(1, -1) if tensor.dim() < 2 else tensor
    return [*rows.shape, list(map(repr, rows.flatten().tolist()))]


@pytest.fixture
def page(without_checks, browse):
    return browse(torchbp.explain(*with_all()))  # with all scripts


@pytest.mark.parametrize(("odd", "depth", "count"), [(True, 1, 600), (False, 3, 300)])
def test_random_trees_have_the_values_of_python(page, odd, depth, count):
    made, asked, expected = Trees(depth), [], []
    for number in range(count):
        made.values = {}
        tree, tree_of = made.tree(SHAPES[number % len(SHAPES)], depth, odd), program.Trees()
        asked.append([tree_of(tree), tree_of.places, {name: written(value) for name, value in made.values.items()}])
        expected.append((tree, made.values, tree.evaluate(made.values)))
    found = page.evaluate(EVALUATE % json.dumps(asked, ensure_ascii=False))
    for (tree, values, value), numbers in zip(expected, found, strict=True):
        computed = torch.tensor(list(map(float, numbers)), dtype=torch.float64)
        bounds = {"rtol": 1e-12, "atol": 1e-300} if odd else {"rtol": 1e-9, "atol": 1e-9}
        same = torch.isclose(computed, value.reshape(-1), equal_nan=True, **bounds)
        assert same.all(), (tree, values, value, numbers)


def test_every_node_and_function_is_among_the_random_trees():
    made, kinds = Trees(1), set()

    def note(tree):
        if isinstance(tree, list):
            kinds.update(part for part in tree if isinstance(part, str))
            for part in tree:
                note(part)

    for number in range(600):
        note(program.Trees()(made.tree(SHAPES[number % len(SHAPES)], 1, True)))
    assert set(program.NODES) | set(program.FUNCTIONS) <= kinds


FORMULAS = """A1^-1|.5 A1|A1*.5|1e-3 dW1|A1**2|A1²|−A1|- A1 + A2|A1-A2|2A1|A1 A1|X W1ᵀ|X@W1.T|dZ1.T @ X|((dZ1))ᵀ X
Σₙ dZ1|sum(dZ1)|sum dZ1|Σ A1|Σₖ A1|Σₙ dZ1 ∘ A1|σ Z1|sigmoid(Z1)|tanh Z1²|tanh(Z1)²|ln(1 - A1)|exp(-Z1)|max(0, Z1)
[A1 ≥ 0]|dA1*(A1>0)|A1 [A1 <= 1]|A1 > 0|A1/N/N|A1/NK|lr*dW1|W1 − α ∂L/∂W1|dL_dW1|dW1'|W1'|sgn(A1)|A1(1-A1)|A1ᵀᵀ|A1^(1/2)
2^A1|-Σ [ y ln A2 + (1 − y) ln(1 − A2) ]|A1 +|* A1|A1 )|( A1|foo|A1 B1|A1,A2|σ()|[A1|3.5.2|A11|A1 -2|A1*-1|2e−3|−A1²
-A1*A2|W2_new|b1_new|W1_newer|X W1^T|A1^0.5|A1 ^ 2 ^ 2""".replace("\n", "|").split("|")


def test_the_page_reads_formulas_as_python_does(browse):
    browser = browse(xor())
    exercise = Exercise(xor())
    (record,) = (record for record in exercise.records if record.name == "W1′")
    read = """(text) => { try { return formulaOf(text, namesBefore(data.steps.find(({ name }) => name === "W1′"))); }
        catch (error) { return error.message; } }"""
    found = browser.evaluate(f"{json.dumps(FORMULAS)}.map({read})")
    for text, tree in zip(FORMULAS, found, strict=True):
        try:
            expected = program.Trees()(read_formula(text, exercise._names(record)))
        except FormulaError:
            assert isinstance(tree, str), text
            assert " " in tree, text  # a message
        else:
            assert tree == expected, text
