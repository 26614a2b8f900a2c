"""A sample of torch's operators passes the audit; and what the audit finds in others is seen in plain torch too.

`python -m tests.testing.torch_operators` audits all of them.
"""

import json
import os

import pytest
import torch
from torch.nn import functional as F

from tests.testing import torch_operators
from tests.testing.known_of_torch import KNOWN
from tests.testing.torch_operators import audit, modules, operators

SAMPLE = ["addmm", "atan2", "cumsum", "logaddexp", "masked_select", "nn.functional.softmin", "unfold", "where"]
TABLE = operators()


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.filterwarnings("ignore")
def test_sound_operators_pass(name):
    report = audit(*next(iter(TABLE[name]())))
    assert not isinstance(report, str), report
    assert not report.failed, str(report)


def gradient(function, x):
    x = x.clone().requires_grad_()
    output = function(x)
    return torch.autograd.grad(output.real.sum(), x)[0]


def scattered(x):
    rows = torch.zeros(3, 4, 5, dtype=x.dtype)
    return torch.func.vmap(lambda row: torch.select_scatter(row, x, 0, 1))(rows)


def filled(values):
    rows, columns = torch.zeros(2, 3, dtype=values.dtype), torch.tensor([0, 2])
    return torch.func.vmap(lambda value: torch.index_fill(rows, 1, columns, value))(values)


def similar(x):
    """x · y, since both norms are less than eps, or equal to it."""
    return F.cosine_similarity(x, torch.tensor([0.6, 0.8], dtype=x.dtype), dim=0, eps=1.0)


@pytest.mark.parametrize(
    ("name", "function", "x", "right"),
    [
        ("polar", lambda r: torch.polar(r, torch.zeros_like(r)), [-1.0], [1.0]),
        ("nn.functional.softshrink", lambda x: F.softshrink(x, 0.0), [0.0], [1.0]),
        ("nn.functional.poisson_nll_loss", lambda y: F.poisson_nll_loss(0 * y, y, full=True), [-0.5], [0.0]),
        ("nn.functional.cosine_similarity", similar, [0.6, 0.0], [0.6, 0.8]),
        ("select_scatter", scattered, [1.0] * 5, [3.0] * 5),
        ("index_fill", filled, [1.0, 2.0], [4.0, 4.0]),
        ("nn.SoftMarginLoss", lambda x: F.soft_margin_loss(x, -torch.ones_like(x)).float(), [1000.0], [1.0]),
    ],
)
def test_a_defect_is_seen_in_plain_torch(name, function, x, right):
    """If one of these passes, torch has mended it: take it out of the table."""
    assert any(reason.startswith("defect") for reason in KNOWN[name].values())
    found = gradient(function, torch.tensor(x, dtype=torch.float64))
    assert not torch.allclose(found, torch.tensor(right, dtype=torch.float64))


def test_every_reason_says_what_it_is():
    reasons = [reason for checks in KNOWN.values() for reason in checks.values()]
    assert all(reason.startswith(("defect: ", "convention: ")) for reason in reasons)
    assert KNOWN.keys() <= TABLE.keys() | modules().keys(), KNOWN.keys() - TABLE.keys()


@pytest.fixture
def toy(monkeypatch):
    """One operator of five samples: the audit of sample 2 ends the process, and that of sample 3 finds a defect."""

    def audit(number, _):
        if number == 2:
            os._exit(7)
        return "the auditor raises" if number == 3 else "empty"

    monkeypatch.setattr(torch_operators, "operators", lambda part: {"toy": lambda: [(k, {}) for k in range(5)]})
    monkeypatch.setattr(torch_operators, "audit", audit)


@pytest.mark.processes
def test_a_run_goes_on_where_the_last_one_stopped(toy, tmp_path, capsys):
    file = tmp_path / "records.jsonl"
    for run in range(1, 6):
        assert torch_operators.main(["--seconds", "0", "--records", str(file)]) in (0, 1)
        numbers = [json.loads(line)["number"] for line in file.read_text().splitlines()]
        assert len(numbers) == len(set(numbers)) == run, "one further sample in each run"
    assert numbers[0] == 0
    failures = {record.number: record.failures for record in torch_operators.read_records(file).values()}
    assert failures == {
        0: None,
        1: None,
        2: {"process": "the process ends with 7"},
        3: {"refused": "the auditor raises"},
        4: None,
    }
    capsys.readouterr()
    assert torch_operators.main(["--seconds", "0", "--records", str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == ["1 operators: 1 new", "5 samples: 2 new, 3 empty"]


@pytest.mark.processes
def test_what_failed_is_audited_again_and_its_last_record_counts(toy, tmp_path, monkeypatch):
    file = tmp_path / "records.jsonl"
    for _ in range(5):
        torch_operators.main(["--seconds", "0", "--records", str(file)])
    monkeypatch.setattr(torch_operators, "audit", lambda number, _: "empty")
    assert torch_operators.main(["--records", str(file), "--again"]) == 0
    assert len(file.read_text().splitlines()) == 7
