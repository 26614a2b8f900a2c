import pytest


@pytest.fixture
def checkpoint(trained_run):
    return trained_run / "checkpoints/best.ckpt"
