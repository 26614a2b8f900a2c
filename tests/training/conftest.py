import multiprocessing

import pytest


@pytest.fixture(scope="session")
def processes():
    """Where processes come from that have imported the command: a new interpreter takes longer than a run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchbp.training.cli.command", "tests.training.pairs"])
    return context
