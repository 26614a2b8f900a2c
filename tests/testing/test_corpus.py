"""The corpus: each defect is one, gradcheck does not see it, and torchbp.check does."""

from collections import Counter

import pytest
import torch
from torch.autograd import gradcheck

import torchbp
from tests.documentation import all_documentation
from tests.testing.corpus import DEFECTS, SOUND
from tests.testing.corpus.entry import HIDDEN_BY_THE_INPUTS, function, same

EACH = pytest.mark.parametrize("entry", DEFECTS, ids=lambda entry: entry.name)


def audit(subject, entry, checks="all"):
    """Without the compiler, which takes a second each, but for the defects that it shows."""
    skip = {"compile"} - set(getattr(entry, "checks", ()))
    return torchbp.check(subject, entry.inputs(), checks=checks, skip=skip, raise_exception=False, **entry.options)


@EACH
def test_gradcheck_lets_it_through(entry):
    assert gradcheck(function(entry.subject), entry.inputs())


@EACH
def test_it_is_wrong_and_its_twin_right(entry):
    assert not same(*entry.shows(entry.subject))
    assert same(*entry.shows(entry.sound_twin))


@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry.name)
def test_sound_ones_run(entry):
    outputs = function(entry.subject)(*entry.inputs())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert any(isinstance(output, torch.Tensor) and output.requires_grad for output in outputs)


@EACH
def test_the_auditor_finds_it(entry):
    """By one of the checks that should, which are run until one does."""
    options = {**entry.options, "raise_exception": False}
    texts = []
    for check in entry.checks:
        report = torchbp.check(entry.subject, entry.inputs(), checks=check, **options)
        texts.append(str(report))
        if report.failed:
            return
    pytest.fail("\n".join(texts))


def twins():
    """The checks that find the defect of which it is the twin; exhaustively, all."""
    for entry in DEFECTS:
        yield pytest.param(entry, entry.checks, id=entry.name)
        yield pytest.param(entry, "all", id=f"{entry.name}-all", marks=pytest.mark.exhaustive)


def sound_ones():
    """Of each the level "fast", and of one in eight all checks; exhaustively, of each all."""
    for number, entry in enumerate(SOUND):
        yield pytest.param(entry, "fast", id=entry.name)
        yield pytest.param(entry, "all", id=f"{entry.name}-all", marks=pytest.mark.exhaustive if number % 8 else ())


@pytest.mark.parametrize(("entry", "checks"), list(twins()))
def test_the_auditor_passes_its_twin(entry, checks):
    report = audit(entry.sound_twin, entry, checks)
    assert not report.failed, str(report)


@pytest.mark.parametrize(("entry", "checks"), list(sound_ones()))
def test_the_auditor_passes_sound_ones(entry, checks):
    report = audit(entry.subject, entry, checks)
    assert not report.failed, str(report)


def test_what_the_corpus_covers():
    names = Counter(entry.name for entry in [*DEFECTS, *SOUND])
    assert max(names.values()) == 1
    kinds = Counter(entry.kind for entry in DEFECTS)
    assert all(
        kinds[kind] >= 2 for kind in [*range(1, 15), *range(HIDDEN_BY_THE_INPUTS + 2, HIDDEN_BY_THE_INPUTS + 13)]
    )
    assert sum(bool(entry.source) for entry in DEFECTS) >= 160
    assert len(SOUND) >= 80


def test_the_readme_counts_it():
    readme = " ".join(all_documentation().split())
    real = sum(bool(entry.source) for entry in DEFECTS)
    assert f"a corpus of {len(DEFECTS)} defects, {real} of them after real reports" in readme
    assert f"{len(SOUND)} sound functions and modules" in readme
