"""The engine on each device that is there: the same numbers as on the CPU, no wait for a GPU in a step, CUDA graphs."""

import copy
import warnings
from functools import partial

import pytest
import torch

import torchbp
from tests.networks import assert_same, mlp, rows
from torchbp.engine import recently_used
from torchbp.engine.fitting import epoch

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

network = partial(mlp, (3, 5, 2))
OPTIONS = {
    "plain": (None, {"lr": 0.3, "weight_decay": 0.01}),
    "nesterov": (None, {"lr": 0.3, "momentum": 0.9, "nesterov": True}),
    "ensemble": (4, {"lr": [0.1, 0.2, 0.3, 0.4], "weight_decay": [0.0, 0.1, 0.0, 0.2]}),
    "ensemble in chunks": (4, {"lr": 0.3, "momentum": [0.9, 0.0, 0.5, 0.1], "dampening": 0.2, "chunk": 3}),
}


@pytest.mark.parametrize(("members", "options"), OPTIONS.values(), ids=OPTIONS)
def test_steps_are_those_of_the_cpu(members, options, device):
    here, there = network(members), network(members, device)
    optimizers = [torchbp.SGD(net, **options) for net in (here, there)]
    for size in (7, 7, 4, 1):
        x, y = rows(size)
        losses = [
            optimizer.backprop_step(x.to(on), y.to(on))
            for optimizer, on in zip(optimizers, ("cpu", device), strict=True)
        ]
        torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=1e-11, atol=1e-12)
        assert losses[1].device.type == device
    assert_same(there, here, 1e-11)
    for net, on in ((here, "cpu"), (there, device)):
        torchbp.backprop(net, x.to(on), y.to(on))
    for p, q in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(p.grad.cpu(), q.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("members", "options"),
    [
        (None, {"batch_size": 8, "max_epochs": 4}),
        (None, {"batch_size": 7, "max_epochs": 30, "patience": 2, "min_delta": 0.02}),
        (6, {"batch_size": 8, "max_epochs": 9, "patience": 2, "min_delta": 1e-3, "min_grad_norm": 0.05}),
        (6, {"batch_size": 5, "max_epochs": 3, "bagging": True}),
    ],
    ids=["one", "patience", "members that stop", "bagging"],
)
def test_fit_is_that_of_the_cpu(members, options, device):
    x, y = rows(45)
    found = []
    for on in ("cpu", device):
        net = network(members, on)
        lr = 0.5 if members is None else [0.0, 0.0, 0.0, 0.0, 0.3, 0.5]
        optimizer = torchbp.SGD(net, lr=lr, momentum=0.5)
        generator = torch.Generator().manual_seed(1)
        history = optimizer.fit(x.to(on), y.to(on), generator=generator, progress=False, **options)
        found.append((net, history, optimizer.minimum))
    (here, expected, rule), (there, history, same_rule) = found
    torch.testing.assert_close(history, expected, rtol=1e-10, atol=1e-11)
    assert history.device.type == "cpu"
    assert torch.equal(same_rule.why, rule.why)
    assert torch.equal(same_rule.epochs, rule.epochs)
    assert_same(there, here, 1e-9)


@pytest.mark.parametrize("default", ["the rows' device", "meta"])
def test_the_default_device_changes_nothing(default, device):
    x, y = rows(20, device=device)
    nets = [network(3, device) for _ in range(2)]
    optimizers = [torchbp.SGD(net, lr=[0.1, 0.2, 0.3], momentum=0.9) for net in nets]
    histories = []
    for optimizer, where in zip(optimizers, ("cpu", device if default != "meta" else "meta"), strict=True):
        generator = torch.Generator("cpu").manual_seed(2)
        with torch.device(where):
            options = {"max_epochs": 3, "bagging": True, "min_grad_norm": 1e-9, "batch_size": 8}
            histories.append(optimizer.fit(x, y, generator=generator, progress=False, **options))
            optimizer.backprop_step(x, y)
            torchbp.backprop(optimizer.model, x, y)
    torch.testing.assert_close(*histories, rtol=0, atol=1e-12)
    assert_same(*nets, 1e-11)
    torch.testing.assert_close(*([p.grad for p in net.parameters()] for net in nets), rtol=1e-11, atol=1e-12)


def test_rows_elsewhere_or_of_another_dtype_are_named(device):
    x, y = rows(9, device=device)
    net = network(device=device)
    before = copy.deepcopy(net)
    for bad_x, bad_y, message in (
        (x.to("meta"), y, "x is on meta, and the model on"),
        (x, y.to("meta"), "y is on meta, and the model on"),
        (x.float(), y, "x is torch.float32, and the model torch.float64"),
    ):
        with pytest.raises(ValueError, match=message):
            torchbp.SGD(net).fit(bad_x, bad_y)
    x[4, 1] = torch.inf
    with pytest.raises(ValueError, match=r"x\[4, 1\] is inf, one of 1"):
        torchbp.SGD(net).fit(x, y)
    assert_same(net, before, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("members", [None, 3])
def test_a_network_in_half_precision(members, dtype, device):
    net, exact = network(members, device, dtype), network(members, device, torch.float32)
    exact.load_state_dict(net.state_dict())
    x, y = rows(16, device=device, dtype=torch.float32)
    losses = [
        torchbp.SGD(one, lr=0.1, momentum=0.5).backprop_steps(x.to(of).expand(4, 16, 3), y.to(of).expand(4, 16, 2))
        for one, of in ((net, dtype), (exact, torch.float32))
    ]
    assert losses[0].dtype is dtype
    torch.testing.assert_close(losses[0].float(), losses[1], rtol=0.05, atol=0.05)
    torch.testing.assert_close(net.float().state_dict(), exact.state_dict(), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_is_refused_by_the_engine(dtype, device):
    net = network(device=device, dtype=torch.float32)
    optimizer = torchbp.SGD(net, lr=0.5)
    before = copy.deepcopy(net)
    x, y = rows(6, device=device, dtype=torch.float32)
    with torch.autocast(device, dtype=dtype):
        for call in (optimizer.backprop_step, optimizer.fit, lambda x, y: torchbp.backprop(net, x, y)):
            with pytest.raises(RuntimeError, match="autocast is on; leave autocast"):
                call(x, y)
    assert_same(net, before, 0)
    with torch.autocast("cuda" if device == "cpu" else "cpu", enabled=device != "cpu", dtype=torch.bfloat16):
        optimizer.backprop_step(x, y)  # that of another device does not concern it


@pytest.mark.parametrize("ours", [False, True], ids=["torch.optim.SGD", "torchbp.SGD"])
def test_a_gradient_scaler_steps_as_it_does_for_torchs(ours, device):
    """With one step that overflows, which is skipped."""
    weights, scales = [], []
    x, y = rows(16, device=device, dtype=torch.float32)
    for of_torchbp in (False, True):
        torch.manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).to(device)
        loss = torch.nn.BCEWithLogitsLoss()
        if of_torchbp:
            torchbp.convert(net), torchbp.convert(loss)
        make = torchbp.SGD if of_torchbp and ours else lambda net, **o: torch.optim.SGD(net.parameters(), **o)
        optimizer = make(net, lr=0.1, momentum=0.9)
        scaler = torch.amp.GradScaler(device, init_scale=2.0**12, growth_interval=2)
        for step in range(6):
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.float16):
                value = loss(net(x), y)
            scaler.scale(value * (torch.inf if step == 3 else 1)).backward()
            scaler.step(optimizer)
            scaler.update()
        weights.append(net.state_dict())
        scales.append(scaler.get_scale())
    assert scales[0] == scales[1]
    torch.testing.assert_close(*weights, rtol=0.01, atol=0.01)


@needs_a_gpu
def test_cuda_rows_that_come_from_pinned_memory():
    here, there = network(), network(device="cuda")
    optimizers = [torchbp.SGD(net, lr=0.3) for net in (here, there)]
    for _ in range(20):
        x, y = rows(64)
        optimizers[0].backprop_step(x, y)
        optimizers[1].backprop_step(*(t.pin_memory().to("cuda", non_blocking=True) for t in (x, y)))
    assert_same(there, here, 1e-11)


def waits(function):
    """How often the CPU waited for the GPU."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught)


@needs_a_gpu
@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize(("members", "options"), OPTIONS.values(), ids=OPTIONS)
def test_cuda_is_not_waited_for_in_a_step(members, options, capture):
    optimizer = torchbp.SGD(network(members, "cuda"), **options, capture=capture)
    x, y = rows(3, 8, device="cuda")
    assert waits(lambda: x[0, 0, 0].item()) == 1  # torch tells
    optimizer.backprop_steps(x, y)  # velocities begin, and graphs are made
    assert waits(lambda: optimizer.backprop_steps(x, y)) == 0
    assert waits(lambda: torchbp.backprop(optimizer.model, x[0], y[0])) == 0


@needs_a_gpu
@pytest.mark.parametrize("members", [None, 6])
def test_cuda_is_waited_for_a_few_times_an_epoch_whatever_its_steps(members):
    counts = []
    for count in (40, 4000):
        optimizer = torchbp.SGD(network(members, "cuda"), lr=0.1)
        x, y = rows(count, device="cuda")
        options = {"max_epochs": 3, "batch_size": 8, "min_grad_norm": 1e-9, "min_delta": 0, "progress": False}
        counts.append(waits(lambda o=optimizer, x=x, y=y, options=options: o.fit(x, y, **options)))
    assert counts[0] == counts[1] <= 30


def losses_of(optimizer, x, y, sizes):
    """The losses of steps of these many rows, with a learning rate that changes on the way."""
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    losses = []
    for size in sizes:
        losses.append(optimizer.backprop_step(x[:size], y[:size]))
        schedule.step()
    return torch.stack(losses)


@needs_a_gpu
@pytest.mark.parametrize(("members", "options"), OPTIONS.values(), ids=OPTIONS)
def test_cuda_graphs_of_many_sizes_take_the_same_steps(members, options, monkeypatch):
    """More sizes than graphs are kept, and each comes back."""
    monkeypatch.setattr(recently_used, "LARGEST", 3)
    captured, plain = network(members, "cuda"), network(members, "cuda")
    x, y = rows(40, device="cuda")
    sizes = [8, 40, 3, 8, 3, 40, 1, 8, 17, 40, 3, 8, 8]
    graphs = torchbp.SGD(captured, **options, capture=True)
    losses = losses_of(graphs, x, y, sizes)
    torch.testing.assert_close(losses, losses_of(torchbp.SGD(plain, **options), x, y, sizes), rtol=1e-10, atol=1e-11)
    assert_same(captured, plain, 1e-10)
    assert len(graphs.captured.graphs) == 3


@needs_a_gpu
def test_cuda_graphs_leave_their_memory_to_each_other():
    torch.manual_seed(0)
    optimizer = torchbp.SGD(torchbp.nn.MLP(16, 1024, 1, device="cuda"), lr=0.1, capture=True)
    x, y = torch.randn(4096, 16, device="cuda"), torch.rand(4096, 1, device="cuda")
    optimizer.backprop_step(x, y)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for size in range(4096, 2048, -64):
        optimizer.backprop_step(x[:size], y[:size])
    torch.cuda.empty_cache()
    assert len(optimizer.captured.graphs) == recently_used.LARGEST
    activations = 4 * 4096 * 1024  # of one step; each of the 32 graphs has two such tensors on its way
    assert torch.cuda.memory_reserved() - before < 10 * activations


@needs_a_gpu
def test_a_cuda_graph_reads_the_loss_weight_and_the_members_that_descend():
    x, y = rows(8, device="cuda")
    nets = []
    for capture in (False, True):
        loss = torchbp.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 3.0], dtype=torch.double)).cuda()
        net = network(4, "cuda")
        optimizer = torchbp.SGD(net, lr=0.3, momentum=0.5, loss=loss, capture=capture)
        for step in range(8):
            if step == 3:
                loss.pos_weight = torch.tensor([0.5, 1.0], dtype=torch.double, device="cuda")
            if step in (4, 6):
                optimizer.active = torch.tensor([True, step == 4, False, True], device="cuda")
            optimizer.backprop_step(x, y)
        nets.append(net)
    assert_same(*nets, 1e-11)


@needs_a_gpu
def test_a_cuda_graph_made_in_inference_mode_works_outside_and_after_a_bad_batch():
    captured, plain = network(device="cuda"), network(device="cuda")
    optimizers = [torchbp.SGD(captured, lr=0.3, capture=True), torchbp.SGD(plain, lr=0.3)]
    x, y = rows(8, device="cuda")
    for optimizer in optimizers:
        with torch.inference_mode():
            optimizer.backprop_step(x, y)
        with pytest.raises(ValueError, match="target has the shape"):
            optimizer.backprop_step(x, y[:4])
        with torch.no_grad():
            optimizer.backprop_step(x, y)
        optimizer.backprop_step(x, y)
    assert_same(captured, plain, 1e-11)


@needs_a_gpu
def test_fit_with_a_cuda_graph():
    x, y = rows(45, device="cuda")
    nets = [network(5, "cuda") for _ in range(2)]
    for net, capture in zip(nets, (True, False), strict=True):
        optimizer = torchbp.SGD(net, lr=[0.0, 0.0, 0.0, 0.3, 0.5], momentum=0.5, capture=capture, chunk=2)
        generator = torch.Generator().manual_seed(1)
        optimizer.fit(x, y, max_epochs=6, batch_size=8, patience=2, bagging=True, generator=generator, progress=False)
    assert_same(*nets, 1e-10)


@needs_a_gpu
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_cuda_memory_of_a_step_is_the_activations_and_one_delta(momentum):
    sizes, count = (256, 192, 224, 40), 8192
    optimizer = torchbp.SGD(torchbp.nn.MLP(*sizes, activation="tanh", device="cuda"), lr=0.1, momentum=momentum)
    x, y = torch.randn(count, sizes[0], device="cuda"), torch.rand(count, sizes[-1], device="cuda")
    for _ in range(2):
        optimizer.backprop_step(x, y)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    optimizer.backprop_step(x, y)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak <= 1.25 * 4 * count * (sum(sizes[1:]) + max(sizes[1:]))


def test_memory_of_bags_is_bounded(device, monkeypatch):
    """What is gathered at once, in batches and in members, is bounded; the steps are the same."""
    x, y = rows(50, device=device)
    nets = [network(6, device) for _ in range(3)]
    for net, bound, chunk in zip(nets, (2**26, 1000, 1000), (None, None, 4), strict=True):
        monkeypatch.setattr(epoch, "GATHERED", bound)
        optimizer = torchbp.SGD(net, lr=[0.0, 0.1, 0.2, 0.3, 0.4, 0.0], momentum=0.5, chunk=chunk)
        options = {"max_epochs": 4, "batch_size": 8, "patience": 2, "min_grad_norm": 1e-9, "bagging": True}
        optimizer.fit(x, y, generator=torch.Generator().manual_seed(3), progress=False, **options)
    assert_same(nets[0], nets[1], 1e-12)
    assert_same(nets[0], nets[2], 1e-12)
