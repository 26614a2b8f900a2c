"""Rules that are registered for one test, and pages in a browser."""

import functools

import pytest

import torchbp.explanation.explanation as explanation_module
from torchbp.ops.registry import implements, register, unregister


@pytest.fixture
def registered():
    """Registers a rule, and the class of its module if there is one, until the end of the test."""
    found = []

    def add(rule, module=None):
        found.append(register(rule))
        return implements(rule)(module) if module else None

    yield add
    for rule in found:
        unregister(rule)


@pytest.fixture
def without_checks(monkeypatch):
    """The checks of a network take longer than all else, and other tests are about them."""
    monkeypatch.setattr(explanation_module, "checked", lambda step: step.records)


@functools.lru_cache(8)
def page_of(explanation):
    """Its page, made once for the many tests of a sample."""
    return explanation.to_html()


@pytest.fixture
def browse(browser, tmp_path):
    """Opens the page of an explanation. At the end its console must be empty, and nothing else have been asked for."""
    page = tmp_path / "explanation.html"

    def browse(explanation, **settings):
        page.write_text(page_of(explanation), encoding="utf-8")
        browser.open(page, **settings)
        return browser

    yield browse
    assert browser.console == []
    assert browser.requests == [page.as_uri()]
