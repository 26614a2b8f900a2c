"""Files that are written whole or not at all."""

import resource

import pytest
import torch

from torchbp.training.atomic_write import atomic_save

CONTENT = {"settings": {f"name {i}": "x" * 50 for i in range(400)}, "weights": [torch.ones(4000) for _ in range(8)]}


@pytest.fixture
def largest_file():
    """Sets the size of the largest file that this process can write; a longer one is an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_at_any_byte_names_the_file_and_leaves_the_old_one(largest_file, tmp_path):
    """Where the disk is full between two records of the archive, within one, or in a buffer."""
    path = tmp_path / "folder/some.ckpt"
    atomic_save({"old": 1}, path)
    atomic_save(CONTENT, tmp_path / "whole.ckpt")
    for size in range(0, (tmp_path / "whole.ckpt").stat().st_size, 2000):
        largest_file(size)
        with pytest.raises(OSError, match="File too large") as caught:
            atomic_save(CONTENT, path)
        assert caught.value.filename == str(path), size
        assert [one.name for one in path.parent.iterdir()] == ["some.ckpt"]
    assert torch.load(path, weights_only=True) == {"old": 1}


def test_another_error_is_itself(tmp_path):
    with pytest.raises(AttributeError, match="lambda"):
        atomic_save(lambda: None, tmp_path / "some.ckpt")
    assert not list(tmp_path.iterdir())
