"""`torchbp bench accuracy` measures what it says, every rule is measured, and none is less exact than torch's."""

import math
import re

import mpmath
import numpy as np
import pytest
import torch
from scipy import special

from tests.documentation import ROOT
from torchbp.benchmarks.commands import accuracy
from torchbp.benchmarks.helpers.accuracy import elements, exact_elements, formula_book
from torchbp.benchmarks.helpers.accuracy.ulps import IS_FINER, errors, text
from torchbp.cli import main
from torchbp.ops.expressions import Symbol, exp
from torchbp.ops.registry import rules
from torchbp.ops.rules import KINDS, Activation

BOOK = (ROOT / "torchbp/ops/README.md").read_text(encoding="utf-8")
RULES = accuracy.all_rules()
SMALL = {"count": 12, "draws": 1}
# In ulp: how exact is exact enough, whatever torch's is. Sums differ by the order in which a processor adds. Of twenty
# draws, the largest errors that are half an ulp above torch's are 1.2 and 1.8, and those of attention.
ENOUGH = {"forward": 1.5, "backward": 2.0}
# The scores of × 100 are about 100, and so are their errors in ulp, which differ by the draw. There is one draw here;
# of thirty, the mean error is half of torch's.
LESS_EXACT = {"scaled_dot_product_attention": 1.5}


DTYPES = [  # of each two, the second is computed in a wider one
    pytest.param((torch.float32, torch.bfloat16), id="float32, bfloat16"),
    pytest.param((torch.float64, torch.float16), id="float64, float16", marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize("dtypes", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_no_operation_is_less_exact_than_torchs(name, dtypes, monkeypatch):
    monkeypatch.setattr(accuracy, "DTYPES", dtypes)
    records = list(accuracy.measure([name], **SMALL))
    assert {record["dtype"] for record in records} == {str(dtype).removeprefix("torch.") for dtype in dtypes}
    for record in records:
        assert "note" not in record, record["note"]
        for way, enough in ENOUGH.items():
            if way in record:
                allowed = max(record[f"{way}_torch"] * LESS_EXACT.get(name, 1.0) + 0.5, enough)
                assert record[way] <= allowed, (record, way)


def test_the_book_has_each_rule_with_its_lines_and_numbers():
    """torchbp bench accuracy --only --book torchbp/ops/README.md writes the lines, and without --only the numbers."""
    heads, cells = formula_book.read_cells(BOOK)
    assert formula_book.between(BOOK) == formula_book.tables(heads, cells)
    assert {name.split(",")[0] for name in cells} == set(RULES)
    of_rooms = [rule for room in formula_book.ROOMS for of in formula_book.rules_of(room).values() for rule in of]
    assert set(of_rooms) == {rule for kind in KINDS for rule in rules(kind).values()}
    number = r"(\d+(\.\d)?|\de\d+|∞)"
    for row in cells.values():
        assert len(row) == len(heads) - 1 == 8
        assert all(re.fullmatch(f"{number} / {number}|–", cell) for cell in row), row


def test_a_row_of_the_book_links_to_the_formulas_and_names_what_is_saved():
    room = formula_book.FOLDER / "convolution"
    links = [link.split("`")[1] for link in formula_book.backward_links(room / "conv.py")]
    assert links == ["conv_dx", "conv_dweight", "conv_dbias"]  # which stand in _formulas.py
    assert formula_book.backward_links(formula_book.FOLDER / "losses/kl_div.py")[-1].startswith("[`kl_dy`](losses/kl_")
    for name, saved in {
        "kl_div": "input, target",
        "l1_loss": "float32 in the shape of input",
        "relu": "its output",
        "flatten": "nothing",
        "rms_norm": "input, float32 of the shape (6, 1) for an output of (6, 32), weight",
    }.items():
        assert formula_book.saved(RULES[name]) == saved


def test_errors_are_in_ulp_of_the_exact_result():
    one = np.longdouble(1)
    computed = torch.tensor([1 + 2**-23, 2.0, 0.0, -1.0, math.inf, math.nan])
    exact = np.array([one, 2 + one * 2**-23, one, one, one * 1e39, one])
    assert errors(computed, exact, normwise=False).tolist() == [1, 0.5, 2**23, 2**24, 0, math.inf]
    assert errors(torch.tensor([2.0**-149]), np.array([0 * one]), normwise=False).tolist() == [1]
    assert errors(torch.tensor([math.inf]), np.array([one * -1e39]), normwise=False).tolist() == [math.inf]
    assert errors(torch.tensor([4.0, 1 + 2**-21]), np.array([4 * one, one]), normwise=True).tolist() == [0, 1]
    assert errors(torch.tensor([1.0]), np.array([np.longdouble("nan")]), normwise=False).tolist() == [0]
    assert [text(e) for e in (0.46, 12.3, 8388608.0, math.inf, None)] == ["0.5", "12", "8e6", "∞", "–"]


def test_exact_numbers_have_the_digits_that_cancel():
    Z = Symbol("Z")
    tree = 1 - (1 - exp(Z))
    (found,) = exact_elements.values(lambda z: [exact_elements.value(tree, {"Z": z})], [-700.0, 1.0])
    np.testing.assert_allclose(found.astype(float), [math.exp(-700), math.e], rtol=1e-15)
    with pytest.raises(LookupError, match="its equation has a Transpose"):
        exact_elements.value(Z.T, {"Z": mpmath.mpf(1)})


def test_a_wrong_digit_is_seen(monkeypatch):
    """An activation whose slope loses its last digits."""
    rule = rules(Activation)["softplus"]
    wrong = elements.errors
    monkeypatch.setattr(
        elements,
        "errors",
        lambda c, e, normwise: wrong(c * (1 + 2e-6) if c.dtype == torch.float32 else c, e, normwise),
    )
    found = accuracy.errors_of(rule, torch.float32, 12, 1, {})
    assert min(found["forward"], found["backward"]) > 10


@pytest.mark.skipif(not IS_FINER, reason="longdouble is float64 here")
def test_softmax_and_its_gradient_are_those_of_scipy():
    from torchbp.benchmarks.helpers.accuracy.inputs import INPUTS
    from torchbp.benchmarks.helpers.accuracy.sums import drawn, exact

    row = INPUTS["softmax"]
    (z,) = drawn(row, 1.0, 0, torch.float64)
    value, (gradient,) = exact(row.exact, [z], torch.ones_like)
    np.testing.assert_allclose(value.astype(float), special.softmax(z.numpy(), -1), rtol=1e-14)
    assert np.abs(gradient).max() < 1e-18  # the sum of a row is always 1


def test_a_rule_without_inputs_is_named(monkeypatch):
    monkeypatch.delitem(accuracy.INPUTS, "linear")
    (record,) = accuracy.measure(["linear"])
    assert record == {"note": "missing: linear: it has no row in torchbp/benchmarks/helpers/accuracy/inputs.py"}


def test_the_command_prints_a_table_and_writes_the_book(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(accuracy.measure, "__defaults__", (None, 12, 1))
    book = tmp_path / "README.md"
    book.write_text(BOOK.replace("`relu` | 0.0 / 0.0", "`relu` | 7.0 / 7.0"), encoding="utf-8")
    assert main(["bench", "accuracy", "--only", "relu", "--book", str(book)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "| `relu` |" + " 0.0 / 0.0 |" * 8
    assert book.read_text(encoding="utf-8") == BOOK
