"""The pytest plugin of torchbp: the fixture `check_grad`.

pytest loads it in every run of any project, so it must load quickly: torch is imported when the fixture is used.
"""

from typing import Any

import pytest


@pytest.fixture
def check_grad() -> Any:
    """`torchbp.check`: raises a GradientError, which pytest shows, if a check fails."""
    from torchbp.testing import check

    return check
