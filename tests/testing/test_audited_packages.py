"""The command that audits published packages: what it says of one that is there, and of one that is not."""

import pytest
import torch

from tests.testing import audited_packages
from tests.testing.packages import PACKAGES
from tests.testing.packages.subject import Subject

X = torch.randn(3, dtype=torch.float64)


def made():
    yield Subject("sound", torch.sin, X)
    yield Subject("wrong", lambda x: x * x.detach(), X, {"values": "defect: half of the gradient"})


def mended():
    yield Subject("mended", torch.sin, X, {"values": "defect: half of the gradient"})


@pytest.fixture
def packages(monkeypatch):
    table = {"made": made, "mended": mended, "absent": made}
    monkeypatch.setattr(audited_packages, "PACKAGES", table)
    monkeypatch.setattr(audited_packages, "installed", lambda package: None if package == "absent" else "1.0")
    monkeypatch.setattr(audited_packages, "LEVEL", "values")


@pytest.mark.processes
def test_what_is_found_is_compared_with_the_table(packages, capsys):
    assert audited_packages.main([]) == 1
    words = [line.split()[:4] for line in capsys.readouterr().out.splitlines() if " s" in line[-3:]]
    assert words == [
        ["sound", "made", "1.0", "sound"],
        ["known", "made", "1.0", "wrong"],
        ["new", "mended", "1.0", "mended"],
    ]


@pytest.mark.processes
def test_a_package_that_is_not_installed_is_named(packages, capsys):
    assert audited_packages.main(["--package", "absent"]) == 0
    assert "not installed: absent" in capsys.readouterr().out


def test_the_table_has_at_least_twenty_packages():
    assert len(PACKAGES) >= 20
    assert "entmax" in PACKAGES
    assert "pytorch-wavelets" in PACKAGES
