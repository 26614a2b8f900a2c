"""Large products by oneDNN: the same results, without memory as large as a weight, and only where it is chosen."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import torchbp
from torchbp.benchmarks.helpers.memory_use import allocations, peak_bytes
from torchbp.engine.network import Network, layer_formulas
from torchbp.ops import _onednn

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@pytest.fixture
def setting(monkeypatch):
    """A function that sets TORCHBP_ONEDNN anew."""

    def set_to(value):
        monkeypatch.setattr(_onednn, "_choices", {})
        monkeypatch.setenv(_onednn.VARIABLE, value)

    return set_to


@pytest.fixture
def calls(setting, monkeypatch):
    """The shapes of the products that oneDNN has made. It makes those of 16 rows already, in several blocks."""
    setting("1")
    made, by_onednn = [], _onednn._by_onednn

    def counted(x, weight, bias=None):
        made.append((*x.shape, len(weight)))
        return by_onednn(x, weight, bias)

    monkeypatch.setattr(_onednn, "_by_onednn", counted)
    for name, value in (("FEWEST", 16**3), ("FEWEST_IN_BLOCK", 1), ("DEPTH", 32)):
        monkeypatch.setattr(_onednn, name, value)
    return made


@torch.no_grad()
def test_products(calls):
    x, weight, bias, dz = torch.randn(80, 48), torch.randn(72, 48), torch.randn(72), torch.randn(80, 72)
    for b in (bias, None):
        torch.testing.assert_close(_onednn.linear(x, weight, b), torch.nn.functional.linear(x, weight, b))
    torch.testing.assert_close(_onednn.matmul(dz, weight), dz @ weight)
    assert calls == [(80, 48, 72), (80, 48, 72), (80, 72, 48)]


@torch.no_grad()
@pytest.mark.parametrize("beta", [1, 0, 0.9])
def test_a_product_that_accumulates(beta, calls):
    x, dz, out = torch.randn(80, 48), torch.randn(80, 72), torch.randn(72, 48)
    if beta == 0:
        out[3] = torch.nan  # as in torch, it is not read
    expected = torch.addmm(out, dz.t(), x, beta=beta, alpha=-0.3)
    assert _onednn.addmm_(out, dz.t(), x, beta=beta, alpha=-0.3, part=1) is out
    torch.testing.assert_close(out, expected)
    blocks = (16, 16, 16, 16, 8)
    assert calls == [(height, depth, 48) for depth in (32, 32, 16) for height in blocks]


@torch.no_grad()
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.usefixtures("calls")
def test_nan_and_inf_go_through(value):
    x, weight, dz, out = torch.rand(80, 48), torch.rand(72, 48), torch.rand(80, 72), torch.rand(72, 48)
    x[3, 5] = dz[7, 2] = value
    z, dx = _onednn.linear(x, weight, None), _onednn.matmul(dz, weight)
    assert not z[3].isfinite().any()
    assert not dx[7].isfinite().any()
    assert z.isfinite().sum() == 79 * 72
    assert dx.isfinite().sum() == 79 * 48
    _onednn.addmm_(out, dz.t(), x, part=1)
    assert not out[:, 5].isfinite().any()
    assert not out[2].isfinite().any()
    assert out.isfinite().sum() == 71 * 47


def test_what_it_leaves_to_torch(calls):
    a = torch.randn(64, 64)
    with torch.no_grad():
        for b in (a.double(), a.bfloat16(), a.t(), torch.randn(64, 128)[:, ::2], a.to(torch.complex64)):
            for c in (a.to(b.dtype), b):
                torch.testing.assert_close(_onednn.linear(b, c, None), b @ c.t())
                torch.testing.assert_close(_onednn.matmul(c, b), c @ b)
        _onednn.linear(torch.randn(2, 64, 64), a, None)
        _onednn.addmm_(a.clone(), a.t(), a)  # whose blocks would be too low for a sixteenth of the memory
        _onednn.linear(a[:15, :15].contiguous(), a[:16, :15].contiguous(), None)  # small
        torch.func.vmap(lambda a: _onednn.matmul(a, a))(torch.randn(2, 64, 64))
        graph = make_fx(lambda a: _onednn.addmm_(_onednn.linear(a, a, None), a.t(), a))(a)
        assert not [node for node in graph.graph.nodes if "mkldnn" in str(node.target)]
    assert _onednn.linear(a, a.requires_grad_(), None).requires_grad
    assert calls == []


@pytest.mark.usefixtures("fresh_compiler")
def test_the_compiler_sees_torch_s_products(calls):
    program = torch.compile(lambda a: _onednn.matmul(a, a), backend="eager", fullgraph=True)
    a = torch.randn(64, 64)
    with torch.no_grad():
        torch.testing.assert_close(program(a), a @ a)
    assert calls == []


@pytest.fixture
def measured(monkeypatch):
    """The probe's answer, a list of one number; and how often it was asked, its length less 1."""
    answers = [0.5]
    monkeypatch.setattr(_onednn, "measured_ratio", lambda: answers.append(answers[0]) or answers[0])
    return answers


def test_the_probe_is_asked_once_for_each_number_of_threads(setting, measured, monkeypatch):
    setting("")
    threads = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    assert _onednn.is_chosen()
    measured[0] = 0.95
    assert _onednn.is_chosen()
    threads[0] = 2
    assert not _onednn.is_chosen()
    assert len(measured) == 3


def test_settings(setting, measured):
    for value, chosen in (("0", False), ("1", True)):
        setting(value)
        assert _onednn.is_chosen() is chosen
    setting("")
    torch._C._set_mkldnn_enabled(False)
    try:
        assert not _onednn.is_chosen()
    finally:
        torch._C._set_mkldnn_enabled(True)
    torch.use_deterministic_algorithms(True)
    try:
        assert not _onednn.is_chosen()
        setting("1")
        assert _onednn.is_chosen()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(measured) == 1
    setting("yes")
    with pytest.raises(ValueError, match="TORCHBP_ONEDNN='yes' is not known; use 0 for never, 1 for always"):
        _onednn.is_chosen()


def test_the_probe_measures():
    assert 0.01 < _onednn.measured_ratio() < 100


SIZES = (48, 64, 40, 1)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=["plain", "momentum"])
def test_steps_are_those_of_torch_s_products(options, calls, monkeypatch):
    x, y = torch.randn(96, 48), torch.rand(96, 1).round()
    results = []
    for large in (2**40, 2**8):
        monkeypatch.setattr(layer_formulas, "LARGE", large)
        net = torchbp.nn.MLP(*SIZES)
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.linspace(-1, 1, p.numel()).view_as(p).sin())
        optimizer = torchbp.SGD(net, lr=0.5, **options)
        losses = [optimizer.backprop_step(x, y).clone() for _ in range(5)]
        torchbp.backprop(net, x, y)
        results.append([*losses, *(t.clone() for p in net.parameters() for t in (p.detach(), p.grad))])
        assert bool(calls) is (large == 2**8)
    torch.testing.assert_close(*results)
    kinds = {(96, 48, 64), (96, 64, 40), (96, 40, 64)}  # Z1, Z2 and dX2; the others are blocks of dW
    assert kinds < set(calls)
    assert {depth for _, depth, width in set(calls) - kinds} == {32}


def test_a_small_network_has_no_test_of_sizes():
    small, large = (Network(torchbp.nn.MLP(*sizes)) for sizes in ((30, 64, 1), (128, 64, 1)))
    assert small.steps[0].forward is torch.nn.functional.linear
    assert large.steps[0].forward is _onednn.linear
    assert large.steps[2].forward is torch.nn.functional.linear
    one = Network(torchbp.nn.MLP(128, 64, 1, members=1)).of_only_member()
    assert [step.forward for step in one.steps[::2]] == [step.forward for step in large.steps[::2]]


def test_no_memory_as_large_as_a_weight(setting):
    """Beside the activations and one delta: blocks of dW, and a buffer of oneDNN's own."""
    setting("1")
    rows, sizes = 512, (512, 768, 512, 8)
    net = torchbp.nn.MLP(*sizes)
    optimizer = torchbp.SGD(net, lr=0.1)
    x, y = torch.randn(rows, sizes[0]), torch.rand(rows, sizes[-1])
    weight = 4 * 768 * 512
    held = 4 * rows * (sum(sizes[1:]) + max(sizes[1:]))
    with torch.inference_mode():
        buffer = max(allocations(lambda: None, lambda: _onednn.matmul(x, x.t().contiguous()))) - 4 * rows * rows
    assert peak_bytes(lambda: None, lambda: optimizer.backprop_step(x, y)) < held + max(buffer, 0) + weight / 6
    with torch.no_grad():
        dz, out = torch.randn(rows, 768), torch.zeros(768, 512)
        assert 0 < peak_bytes(lambda: None, lambda: _onednn.addmm_(out, dz.t(), x, part=1)) < 0.6 * weight
