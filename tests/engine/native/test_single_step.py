"""`backprop_step` by programs: when one makes the step, and when the engine does."""

import copy

import pytest
import torch

import torchbp
from tests.networks import assert_same, mlp, rows
from torchbp.engine import recently_used
from torchbp.engine.native import single_step
from torchbp.engine.native.single_step import ReadyCall

pytestmark = pytest.mark.usefixtures("native")


class Subclass(torch.Tensor):
    pass


@pytest.fixture
def by_programs(monkeypatch):
    """The losses of the steps that programs have made."""
    losses, call = [], ReadyCall.__call__
    monkeypatch.setattr(ReadyCall, "__call__", lambda self, x, y: losses.append(call(self, x, y)) or losses[-1])
    return losses


def pair_of(optimizer=torchbp.AdamW, members=None, **options):
    """An optimizer with programs and one without, of the same weights."""
    model = mlp((3, 4, 2), members)
    return [optimizer(copy.deepcopy(model), lr=0.05, compile=compile, **options) for compile in (True, False)]


def model_of(optimizer):
    return optimizer.network.modules[0][1]


def both(pair, x, y):
    found, expected = (optimizer.backprop_step(x, y) for optimizer in pair)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_program_is_made_once_a_shape_was_met_often(by_programs):
    pair = pair_of()
    for number in range(single_step.STEPS_BEFORE + 6):
        both(pair, *rows(8))
        if number % 3 == 0:
            both(pair, *rows(5))  # the last batch of an epoch
    assert len(by_programs) == 6 - 1  # the first step of all has no state yet
    assert len(pair[0].compiled.programs) == 1
    assert_same(*map(model_of, pair), 1e-10)


def test_nothing_grows_with_the_shapes(monkeypatch):
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    monkeypatch.setattr(recently_used, "LARGEST", 3)
    pair = pair_of(torchbp.SGD)
    for size in (1, 1, 2, 3, 4, 5, 1, 2):
        both(pair, *rows(size))
    compiled = pair[0].compiled
    assert max(len(compiled.looked_up), len(compiled.programs), len(pair[0]._single.steps_met)) <= 3
    assert_same(*map(model_of, pair), 1e-10)


@pytest.mark.parametrize("members", [None, 3])
def test_the_rows_may_lie_in_any_way(members, by_programs, monkeypatch):
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    pair, shape = pair_of(members=members), (8,) if members is None else (members, 8)
    for _ in range(3):
        both(pair, *rows(*shape))
    (x, y), (wide, long) = rows(*shape), rows(*shape[:-1], 16)
    for given in (x.mT.contiguous().mT, wide[..., ::2, :], torch._neg_view(x), x.requires_grad_()):
        both(pair, given, y)
        both(pair, x.detach(), long[..., ::2, :])
    assert len(by_programs) == 1 + 2 * 4
    assert_same(*map(model_of, pair), 1e-10)


def test_a_learning_rate_that_changes_in_each_step_is_the_engines(by_programs, monkeypatch):
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    pair = pair_of(torchbp.SGD)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) for optimizer in pair]
    for number in range(12):
        both(pair, *rows(8))
        if number < 6:
            for schedule in schedules:
                schedule.step()
    assert len(by_programs) == 12 - 7
    assert_same(*map(model_of, pair), 1e-10)


@pytest.mark.parametrize("kind", ["meta", "sparse", "subclass"])
def test_rows_that_do_not_lie_in_memory(kind, by_programs, monkeypatch):
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    optimizer, (x, y) = pair_of()[0], rows(8)
    for _ in range(3):
        optimizer.backprop_step(x, y)
    made = len(by_programs)
    given = {"meta": x.to("meta"), "sparse": x.to_sparse(), "subclass": x.as_subclass(Subclass)}[kind]
    if kind == "subclass":
        with pytest.warns(UserWarning, match="x or y is no plain tensor on the CPU"):
            optimizer.backprop_step(given, y)
    else:
        with (
            pytest.warns(UserWarning, match="x or y is no plain tensor on the CPU"),
            pytest.raises((RuntimeError, NotImplementedError)),
        ):
            optimizer.backprop_step(given, y)
    assert len(by_programs) == made


def test_state_that_began_under_inference_mode(by_programs, monkeypatch):
    """Its tensors do not say that they were changed."""
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    pair = pair_of()
    with torch.inference_mode():
        both(pair, *rows(8))
    for _ in range(4):
        both(pair, *rows(8))
    assert not by_programs
    assert_same(*map(model_of, pair), 1e-10)


def test_classes_that_are_out_of_range(monkeypatch):
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    optimizer = torchbp.SGD(mlp((3, 4, 2)), lr=0.1, loss=torch.nn.CrossEntropyLoss(), compile=True)
    x, _ = rows(8)
    for _ in range(3):
        optimizer.backprop_step(x, torch.arange(8) % 2)
    before = copy.deepcopy(model_of(optimizer))
    with pytest.raises(IndexError, match="y holds 2"):
        optimizer.backprop_step(x, torch.arange(8) % 3)
    assert_same(model_of(optimizer), before, 0)


def test_rows_of_more_dimensions_are_a_warning():
    layers = [torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    optimizer, (x, y) = torchbp.SGD(torch.nn.Sequential(*layers).double(), lr=0.1, compile=True), rows(2, 8)
    for _ in range(single_step.STEPS_BEFORE + 1):
        optimizer.backprop_step(x, y)
    with pytest.warns(UserWarning, match="give rows of one dimension"):
        optimizer.backprop_step(x, y)
    for _ in range(3):
        optimizer.backprop_step(x, y)
