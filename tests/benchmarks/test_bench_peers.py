"""Every peer descends as torch does: the same weights and rows at first, and then the same losses."""

import gc
import weakref

import pytest
import torch

from torchbp.benchmarks.commands import memory
from torchbp.benchmarks.helpers import ensemble_variants, networks, step_variants
from torchbp.benchmarks.helpers.jax import jax_process

SIZES, ROWS, STEPS = (3, 4, 1), 5, 2


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """A call of those that make sixteen makes four: it is compiled sooner."""
    monkeypatch.setattr(step_variants, "UNROLLED", STEPS)
    monkeypatch.setattr(step_variants, "MOST_STEPS", STEPS)


def named(name):
    return lambda message: f"{name}: {message}"


def on(device, make, *of):
    """What `make` makes on the device."""
    with torch.device(device):
        return make(*of)


@pytest.fixture
def losses(device):
    """Of two steps of torch.nn, `(2)`."""
    peer = on(device, step_variants.eager_steps, SIZES, ROWS)[step_variants.PEER]
    return torch.stack([peer().detach() for _ in range(STEPS)])


@pytest.fixture
def losses_of_members(device):
    """Of two steps of torch.nn, `(2, members)`."""
    x, y, nets = on(device, ensemble_variants.data_and_networks, 4, SIZES, ROWS)
    peer, share = ensemble_variants.one_by_one(nets, x, y)
    assert share == 1
    return torch.stack([torch.stack(peer()).detach() for _ in range(STEPS)])


def of_steps(variant, steps):
    """The losses of two steps, of a variant that makes one a call, or all."""
    if steps == 1:
        return torch.stack([variant().detach().clone() for _ in range(STEPS)])
    return variant()


def losses_of_step(step, steps, count):
    """Of `count` steps, of a function that makes `steps` of them."""
    if steps > 1:
        return step()[:count]
    return torch.stack([step().detach().clone() for _ in range(count)])


MORE = {"AdamW": (step_variants.adamw_steps, SIZES), "classes": (step_variants.classes_steps, (3, 4, 10))}


@pytest.mark.parametrize("kind", list(MORE))
def test_adamw_and_classes(kind, device):
    make, sizes = MORE[kind]
    variants = on(device, make, sizes, ROWS)
    found = {name: losses_of_step(step, 1, 3) for name, step in variants.items()}
    assert len(found) == 2
    peer, ours = found.values()
    assert (peer.diff() < 0).all()
    torch.testing.assert_close(ours, peer)


@pytest.mark.parametrize("kind", list(MORE))
def test_adamw_and_classes_of_jax(kind):
    jax_peers = pytest.importorskip("torchbp.benchmarks.helpers.jax.jax_peers", exc_type=ImportError)
    make, sizes = MORE[kind]
    expected = losses_of_step(make(sizes, ROWS)[step_variants.PEER], 1, STEPS)
    variants, steps = jax_peers.KINDS[kind](sizes, ROWS)
    peer, one, several = variants.values()
    torch.testing.assert_close(losses_of_step(peer, 1, STEPS), expected)
    found = []
    for _ in range(STEPS):
        one()
        found.append(torch.tensor(one.loss.tolist()))
    several()
    torch.testing.assert_close(torch.stack(found), expected)
    torch.testing.assert_close(torch.tensor(several.loss.tolist()), expected)
    assert list(steps.values()) == [STEPS]


@pytest.mark.parametrize("kind", list(MORE))
def test_compiled_adamw_and_classes(kind, monkeypatch):
    """It is the optimizer that compiles, on a batch for each of its steps."""
    make, sizes = MORE[kind]
    calls = []
    optimizer = step_variants.AdamW if kind == "AdamW" else step_variants.SGD
    monkeypatch.setattr(optimizer, "backprop_steps", lambda self, x, y: calls.append((self.compiled, x.shape, len(y))))
    *_, step = make(sizes, ROWS, compiled=True).values()
    step()
    ((compiled, shape, count),) = calls
    assert compiled is not None
    assert shape == (STEPS, ROWS, sizes[0])
    assert count == STEPS
    assert step.steps == STEPS


def test_losses_fall(losses, losses_of_members):
    assert (losses.diff() < 0).all()
    assert (losses_of_members.diff(dim=0) < 0).all()
    torch.testing.assert_close(losses_of_members[:, 0], losses)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("compiler", "fresh_compiler")
def test_compiled(losses, device):
    for name, variant in on(device, step_variants.compiled_steps, SIZES, ROWS).items():
        torch.testing.assert_close(of_steps(variant, getattr(variant, "steps", 1)), losses, msg=named(name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")
@pytest.mark.parametrize("device", ["cuda"])
def test_captured(losses, device):
    for name, variant in on(device, step_variants.captured_steps, SIZES, ROWS).items():
        torch.testing.assert_close(of_steps(variant, 1), losses, msg=named(name))


def test_a_captured_step_holds_the_weights_that_its_graph_reads(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(step_variants, "record", lambda function, written, pool: (lambda: None, function()))
    x, y, net = networks.data_and_peer(SIZES, ROWS)
    weight = weakref.ref(net[0].weight)
    variant = step_variants.step_in_cuda_graph(net, x, y)
    del net
    gc.collect()
    assert weight() is not None
    assert variant().isfinite()


def test_ensemble(losses_of_members, device):
    variants, steps = on(device, ensemble_variants.eager_ensemble, 4, SIZES, ROWS)
    assert steps == {ensemble_variants.PEER: 1}
    for name, variant in list(variants.items())[1:]:
        torch.testing.assert_close(of_steps(variant, 1), losses_of_members, msg=named(name))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("compiler", "fresh_compiler")
def test_compiled_ensemble(losses_of_members, device):
    variants, steps = on(device, ensemble_variants.compiled_ensemble, 4, SIZES, ROWS)
    for name, variant in list(variants.items())[1:]:
        torch.testing.assert_close(of_steps(variant, steps.get(name, 1)), losses_of_members, msg=named(name))


def test_some_are_trained_and_all_are_counted():
    x, y, nets = ensemble_variants.data_and_networks(10, SIZES, ROWS)
    before = [net[0].weight.clone() for net in nets]
    peer, share = ensemble_variants.one_by_one(nets, x, y)
    peer()
    changed = [not torch.equal(net[0].weight, weight) for net, weight in zip(nets, before, strict=True)]
    assert changed == [True] * 4 + [False] * 6
    assert share == 0.4


def test_jax(losses, losses_of_members, device):
    jax_peers = pytest.importorskip("torchbp.benchmarks.helpers.jax.jax_peers", exc_type=ImportError)
    for expected, (variants, steps) in (
        (losses, on(device, jax_peers.jax_steps, SIZES, ROWS)),
        (losses_of_members, on(device, jax_peers.jax_ensembles, 4, SIZES, ROWS)),
    ):
        one, several = [variant for variant in variants.values() if isinstance(variant, jax_peers.Descent)]
        found = []
        for _ in range(STEPS):
            one()
            found.append(torch.tensor(one.loss.tolist()))
        several()
        assert STEPS in steps.values()
        torch.testing.assert_close(torch.stack(found), expected.cpu())
        torch.testing.assert_close(torch.tensor(several.loss.tolist()), expected.cpu())


@pytest.mark.processes
def test_jax_in_a_process_of_its_own():
    """It times a task, and a failure of the next one is a note."""
    pytest.importorskip("jax")
    tasks = {"a": ("steps", SIZES, ROWS), "c": ("what",)}
    note, *found, failure = jax_process.records(tasks, [2], 0.01, "cpu", lambda *of: [of])
    assert "is in a process of its own" in note["note"]
    assert [(threads, label) for threads, label, _ in found] == [(2, "a")]
    assert list(found[0][2]) == ["torch.nn", "JAX jit", "JAX lax.scan"]  # that process has no fixtures
    assert all(times["us"] > 0 and times["ratio"] > 0 for _, _, of in found for times in of.values())
    assert failure == {"note": "JAX stopped: KeyError: 'what'"}


def test_jax_has_a_process_for_each_number_of_threads(monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setattr(jax_process, "measured", lambda tasks, threads, *_: [[*task, threads] for task in tasks])
    _, *found = jax_process.records({"a": ("steps",), "b": ("what",)}, [1, 2], 0.01, "cpu", lambda *of: [of])
    assert found == [
        (threads, label, [kind, threads]) for threads in (1, 2) for label, kind in (("a", "steps"), ("b", "what"))
    ]


def test_memory_that_a_step_needs():
    records = list(memory.memory_records("a", 1, SIZES, ROWS, *memory.networks_and_steps(SIZES, ROWS)))
    assert [record["variant"] for record in records] == ["torch.nn", "backprop", "SGD.backprop_step"]
    parameters, batch, activations, largest_delta = 16 + 5, 5 * (3 + 1), 5 * (4 + 1), 5 * 4
    for record in records:
        assert record["bound_kib"] * 1024 == 4 * (parameters + batch + activations + largest_delta)
        assert record["weight_kib"] * 1024 == 4 * 4 * 3
        assert 4 * (parameters + batch + activations) < record["peak_kib"] * 1024 < 2 * record["bound_kib"] * 1024
        assert record["ratio"] == record["peak_kib"] / record["bound_kib"]
        assert record["largest_kib"] >= largest_delta * 4 / 1024
    assert records[0]["peak_kib"] > records[2]["peak_kib"]
