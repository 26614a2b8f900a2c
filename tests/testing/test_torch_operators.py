"""A sample of torch's operators passes the audit; and what the audit finds in others is seen in plain torch too.

`python -m tests.testing.torch_operators` audits all of them.
"""

import pytest
import torch
from torch.nn import functional as F

from tests.testing.known_of_torch import KNOWN
from tests.testing.torch_operators import audit, modules, operators

SAMPLE = ["addmm", "atan2", "cumsum", "logaddexp", "masked_select", "sort", "nn.functional.softmin", "unfold", "where"]
TABLE = operators()


@pytest.mark.usefixtures("in_this_process")
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


@pytest.mark.parametrize(
    ("name", "function", "x", "right"),
    [
        ("polar", lambda r: torch.polar(r, torch.zeros_like(r)), [-1.0], [1.0]),
        ("nn.functional.softshrink", lambda x: F.softshrink(x, 0.0), [0.0], [1.0]),
        ("nn.functional.poisson_nll_loss", lambda y: F.poisson_nll_loss(0 * y, y, full=True), [-0.5], [0.0]),
        ("select_scatter", scattered, [1.0] * 5, [3.0] * 5),
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
