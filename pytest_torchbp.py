"""The pytest plugin of torchbp: the fixture `check_grad`.

pytest imports it in every run, of any project: so it is no part of the package, whose import loads torch.
"""

import pytest


@pytest.fixture
def check_grad():
    """`torchbp.check`: raises a GradientError, which pytest shows, if a check fails."""
    import torchbp

    return torchbp.check
