"""The script that audits kernels for a GPU runs to its end, with and without one."""

import pytest
import torch

from tests.testing import gpu_kernels


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_kernels.main([]) == 2
    assert "no GPU: " in capsys.readouterr().out


@pytest.mark.processes
def test_a_kernel_is_audited_in_a_process_of_its_own(capsys):
    assert gpu_kernels.main(["--device", "cpu", "--name", "torch gelu", "--checks", "values"]) == 0
    assert "PASS        values" in capsys.readouterr().out


def test_what_a_version_lacks_is_not_audited(monkeypatch):
    monkeypatch.setitem(gpu_kernels.OF_PACKAGES, "torch", {"no_such": ("torch:no_such", (), list)})
    found, _ = gpu_kernels.kernels("no_such")
    with pytest.raises(AttributeError, match="no_such"):
        found["torch no_such"][0]()
