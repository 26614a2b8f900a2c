"""torchbp.convert and revert: the same modules of another class, and everything that holds them stays right."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import torchbp
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Layer, Loss

DROP_INS = {
    rule.torch_module: rule.module_class
    for kind in (Activation, Layer, Loss)
    for rule in rules(kind).values()
    if rule.torch_module
}


class Named(nn.Linear):
    """A subclass that does not override forward."""


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), Named(5, 5), nn.Sigmoid())
        self.body[2].weight = self.body[0].weight  # tied
        self.again = self.body[0]  # the same module twice
        self.norm = nn.LayerNorm(5)
        self.doubled = Doubled(5, 1)
        self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))

    def forward(self, x, y):
        return self.loss(self.doubled(self.norm(self.again(self.body(x)))), y)


def gradients(model):
    torch.manual_seed(1)
    x, y = torch.randn(7, 5), torch.rand(7, 1)
    model.zero_grad()
    loss = model(x, y)
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters()}}


def test_every_layer_is_swapped_in_place_and_back():
    model = Tree().eval()
    before = gradients(model)
    modules, parameters = list(model.modules()), list(model.parameters())
    classes = [type(module) for module in modules]
    reports = []
    assert torchbp.convert(model, report=reports.append) is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert not any(module.training for module in modules)
    assert model.body[2].weight is model.body[0].weight
    assert reports[0].swapped == [f"body.{i}" for i in range(6)] + ["loss"]
    assert reports[0].left == {"norm": "torchbp has no LayerNorm", "doubled": f"{__name__}.Doubled overrides forward"}
    assert f"left    doubled: {__name__}.Doubled overrides forward" in str(reports[0])
    for cls in (torchbp.nn.Linear, torchbp.nn.Tanh, torchbp.nn.ReLU, torchbp.nn.Sigmoid, torchbp.nn.BCEWithLogitsLoss):
        assert any(isinstance(module, cls) for module in modules)
    assert isinstance(model.body[4], Named)
    torch.testing.assert_close(gradients(model), before)

    torchbp.convert(model, report=reports.append)
    assert reports[1].swapped == []  # it is done already
    assert torchbp.revert(model) is model
    assert [type(module) for module in modules] == classes
    torch.testing.assert_close(gradients(model), before)


@pytest.mark.parametrize("cls", DROP_INS, ids=lambda cls: cls.__name__)
def test_the_model_may_be_one_layer(cls):
    layer = cls(3, 2) if cls is nn.Linear else cls()
    assert type(torchbp.convert(layer)) is DROP_INS[cls]
    assert type(torchbp.revert(layer)) is cls


def test_each_converted_layer_runs_our_formula(monkeypatch):
    used = []
    for name in ("linear", "tanh", "relu", "sigmoid", "binary_cross_entropy_with_logits"):
        function = getattr(torchbp.ops, name)
        monkeypatch.setattr(torchbp.ops, name, lambda *a, _f=function, _n=name, **k: (used.append(_n), _f(*a, **k))[1])
    model = torchbp.convert(Tree())
    gradients(model)
    assert used == [
        "linear",
        "tanh",
        "linear",
        "relu",
        "linear",
        "sigmoid",
        "linear",
        "binary_cross_entropy_with_logits",
    ]


def test_an_optimizer_made_before_still_works():
    torch.manual_seed(0)
    models = [Tree() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in models]
    torchbp.convert(models[1])
    for _ in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            gradients(model)
            optimizer.step()
    torch.testing.assert_close(models[1].state_dict(), models[0].state_dict())


def test_hooks_stay():
    layer, calls = nn.Linear(3, 2), []
    layer.register_forward_pre_hook(lambda *_: calls.append("before"))
    layer.register_forward_hook(lambda *_: calls.append("after"))
    layer.register_full_backward_hook(lambda *_: calls.append("backward"))
    torchbp.convert(layer)(torch.randn(4, 3, requires_grad=True)).sum().backward()
    assert calls == ["before", "after", "backward"]


@pytest.mark.parametrize("parametrization", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_parametrizations_stay_and_come_off(parametrization):
    torch.manual_seed(0)
    layer = parametrization(nn.Linear(3, 3))
    twin, x = copy.deepcopy(layer), torch.randn(4, 3)
    expected = layer(x)
    torchbp.convert(layer)
    assert isinstance(layer, torchbp.nn.Linear)
    assert not isinstance(twin, torchbp.nn.Linear)
    assert parametrize.is_parametrized(layer)
    torch.testing.assert_close(layer(x), expected)
    torchbp.revert(layer)
    assert not isinstance(layer, torchbp.nn.Linear)
    torch.testing.assert_close(layer(x), expected)
    torchbp.convert(layer)
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is torchbp.nn.Linear
    torch.testing.assert_close(layer(x), expected)


def test_pruned_layers_stay_pruned():
    layer = prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=0.5)
    torchbp.convert(layer)
    layer(torch.randn(3, 4)).sum().backward()
    assert torch.equal(layer.weight_orig.grad != 0, layer.weight_mask.bool())


def test_copies_and_pickles_are_ours_too():
    model = torchbp.convert(Tree())
    before = gradients(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert isinstance(twin.body[4], Named)
        assert [type(m) for m in twin.modules()] == [type(m) for m in model.modules()]
        torch.testing.assert_close(gradients(twin), before)


def test_what_cannot_be_swapped_is_left_with_its_reason():
    lazy, patched = nn.LazyLinear(3), nn.Linear(3, 3)
    patched.forward = lambda x: x
    reports = []
    torchbp.convert(nn.Sequential(lazy, patched, nn.Conv1d(1, 1, 1)), report=reports.append)
    assert reports[0].left == {
        "0": "LazyLinear has no parameters yet; run it once first",
        "1": "Linear overrides forward",
        "2": "torchbp has no Conv1d",
    }
    assert str(reports[0]).startswith("swapped 0: none")


class Linear(nn.Module):
    """As another library's: of a known name, and with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.weight


def report_of(model):
    reports = []
    torchbp.convert(model, report=reports.append)
    return reports[0]


def test_every_layer_that_is_left_is_named():
    model = nn.ModuleDict({
        "gelu": nn.GELU(), "drop": nn.Dropout(), "theirs": Linear(), "loss": nn.CrossEntropyLoss(),
        "attention": nn.MultiheadAttention(2, 1), "none": nn.Sequential(), "list": nn.ModuleList([nn.Tanh()]),
    })  # fmt: skip
    report = report_of(model)
    assert report.swapped == ["attention.out_proj", "list.0"]
    assert report.left == {
        "gelu": "torchbp has no GELU",
        "drop": "torchbp has no Dropout",
        "theirs": f"torchbp has no {__name__}.Linear",
        "loss": "torchbp has no CrossEntropyLoss",
        "attention": "torchbp has no MultiheadAttention",
    }


def test_what_is_swapped_and_does_not_run_our_formula_is_named(monkeypatch):
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=3, batch_first=True)
    model = nn.Sequential(layer, nn.ReLU(inplace=True), nn.ReLU(), nn.Linear(4, 4))
    report = report_of(model)
    assert report.swapped == ["0.self_attn.out_proj", "0.linear1", "0.linear2", "1", "2", "3"]
    fused = "in eval mode without gradients, TransformerEncoderLayer runs torch's fused kernel"
    assert report.bypassed == {
        "0.self_attn.out_proj": "MultiheadAttention reads its weights, and computes by torch's formula",
        "0.linear1": fused,
        "0.linear2": fused,
        "1": "with inplace=True it runs torch's own operation",
    }
    assert "but     1: with inplace=True it runs torch's own operation" in str(report).splitlines()
    # and so it is
    ran, linear = [], torchbp.ops.linear
    monkeypatch.setattr(torchbp.ops, "linear", lambda x, weight, bias: (ran.append(weight), linear(x, weight, bias))[1])
    x = torch.randn(2, 5, 4)
    layer(x)
    assert [weight is p for weight, p in zip(ran, (layer.linear1.weight, layer.linear2.weight), strict=True)] == [
        True
    ] * 2
    ran.clear()
    with torch.no_grad():
        layer.eval()(x)
    assert ran == []
    z = torch.ones(3, requires_grad=True)
    names = [module(z * 2).grad_fn.name() for module in model[1:3]]
    assert names == ["ReluBackward0", torchbp.ops.relu(z).grad_fn.name()]


def test_revert_leaves_an_ensemble_and_says_why():
    net = torchbp.nn.MLP(3, 4, 1, members=2)
    reports = []
    torchbp.revert(net, reports.append)
    assert reports[0].swapped == ["1"]
    assert reports[0].left == dict.fromkeys(("0", "2"), "torch.nn has no EnsembleLinear")


def test_revert_leaves_a_fused_network_as_it_can_run():
    net = nn.Sequential(torchbp.nn.FusedMLP(3, 4, 1), torchbp.nn.Tanh())
    reports = []
    torchbp.revert(net, reports.append)
    assert reports[0].swapped == ["1"]
    assert reports[0].left == dict.fromkeys(("0.0", "0.1", "0.2"), "FusedMLP computes it; MLP has single layers")
    assert net(torch.randn(2, 3)).shape == (2, 1)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_a_converted_model_is_as_before_on_each_device_and_under_autocast(dtype, device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).to(device)
    x, y = torch.randn(2, 6, 5, device=device), torch.rand(2, 6, 2, device=device)
    results = []
    for swap in (lambda module: module, torchbp.convert, torchbp.revert):
        loss = swap(nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.5])).to(device))
        swap(model).zero_grad()
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            value = loss(model(x), y)
        value.backward()
        assert all(p.device.type == device and p.grad.dtype is torch.float32 for p in model.parameters())
        results.append([value.detach(), *(p.grad for p in model.parameters())])
    tolerance = 1e-5 if dtype is None else 0.02
    for got in results[1:]:
        torch.testing.assert_close(got, results[0], rtol=tolerance, atol=tolerance)
