"""torchbp.convert and revert: the same modules of the same class; whatever holds or copies them stays right."""

import copy
import gc
import inspect
import io
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.nn.utils import parametrizations, parametrize, prune

import torchbp
from torchbp.ops.registry import our_classes

DROP_INS = {torchs: ours for torchs, ours in our_classes().items() if torchs is not ours}


def module_of(cls):
    """A small module of the class: each argument that it must have is a 2."""
    parameters = list(inspect.signature(cls).parameters.values())
    return cls(*(2 for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD))


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
        self.odd = nn.Bilinear(5, 5, 5)
        self.doubled = Doubled(5, 1)
        self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))

    def forward(self, x, y):
        return self.loss(self.doubled(self.odd(x, self.again(self.body(x)))), y)


def gradients(model):
    torch.manual_seed(1)
    x, y = torch.randn(7, 5), torch.rand(7, 1)
    model.zero_grad()
    loss = model(x, y)
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in model.named_parameters()}}


def test_every_layer_is_converted_in_place_and_back():
    model = Tree().eval()
    before = gradients(model)
    modules, parameters = list(model.modules()), list(model.parameters())
    classes, attributes = [type(module) for module in modules], [dict(vars(module)) for module in modules]
    reports = []
    assert torchbp.convert(model, report=reports.append) is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [type(module) for module in modules] == classes
    assert not any(module.training for module in modules)
    assert model.body[2].weight is model.body[0].weight
    assert reports[0].swapped == [f"body.{i}" for i in range(6)] + ["loss"]
    assert [name for name, module in model.named_modules() if torchbp.is_converted(module)] == reports[0].swapped
    assert reports[0].left == {"odd": "torchbp has no Bilinear", "doubled": f"{__name__}.Doubled overrides forward"}
    assert f"left    doubled: {__name__}.Doubled overrides forward" in str(reports[0])
    torch.testing.assert_close(gradients(model), before)

    torchbp.convert(model, report=reports.append)
    assert reports[1].swapped == []  # it is done already
    assert torchbp.revert(model, report=reports.append) is model
    assert reports[2].swapped == reports[0].swapped
    assert [vars(module) for module in modules] == attributes  # nothing of ours is left
    torch.testing.assert_close(gradients(model), before)


@pytest.mark.parametrize("cls", DROP_INS, ids=lambda cls: cls.__name__)
def test_the_model_may_be_one_layer(cls):
    layer = module_of(cls)
    assert torchbp.convert(layer) is layer
    assert type(layer) is cls
    assert torchbp.is_converted(layer)
    assert layer.forward.__func__ is DROP_INS[cls].forward
    assert not torchbp.is_converted(torchbp.revert(layer))
    assert "forward" not in vars(layer)
    assert not torchbp.is_converted(module_of(DROP_INS[cls]))  # it is ours, and nothing was converted
    assert type(torchbp.revert(module_of(DROP_INS[cls]))) is cls


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


@pytest.mark.parametrize(
    "parametrization", [parametrizations.weight_norm, parametrizations.orthogonal, parametrizations.spectral_norm]
)
def test_parametrizations_stay_and_come_off(parametrization):
    torch.manual_seed(0)
    layer = parametrization(nn.Linear(3, 3)).eval()
    x = torch.randn(4, 3)
    expected = layer(x)
    torchbp.convert(layer)
    assert parametrize.is_parametrized(layer)
    for module in (layer, copy.deepcopy(layer)):
        assert torchbp.is_converted(module)
        z = module(x)
        assert isinstance(z.grad_fn, torch.autograd.function.BackwardCFunction)
        torch.testing.assert_close(z, expected)
    torchbp.revert(layer)
    torch.testing.assert_close(layer(x), expected)
    torchbp.convert(layer)
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert torchbp.is_converted(layer)
    torch.testing.assert_close(layer(x), expected)
    parametrization(layer)  # a layer that is converted already
    assert torchbp.is_converted(layer)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_pruned_layers_stay_pruned():
    layer = prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=0.5)
    torchbp.convert(layer)
    layer(torch.randn(3, 4)).sum().backward()
    assert torch.equal(layer.weight_orig.grad != 0, layer.weight_mask.bool())


def saved_and_loaded(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "torch.save": saved_and_loaded,
    **{f"pickle {p}": lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}


class Slotted(nn.Linear):
    """A subclass that is pickled in its own way: without `cache`, and with a mark."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.cache = lambda: None  # it cannot be pickled

    def __getstate__(self):
        return {**self.__dict__, "cache": None, "mark": 1}


class Rebuilt(nn.Linear):
    def __reduce__(self):
        return rebuilt, (self.state_dict(),)


def rebuilt(state):
    layer = Rebuilt(5, 5)
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("way", COPIES.values(), ids=COPIES)
def test_copies_and_pickles_are_converted_too(way):
    model = torchbp.convert(Tree())
    model.body[4] = torchbp.convert(Slotted(5, 5))
    model.again = torchbp.convert(Rebuilt(5, 5))
    before = gradients(model)
    twin = way(model)
    assert [type(m) for m in twin.modules()] == [type(m) for m in model.modules()]
    assert [torchbp.is_converted(m) for m in twin.modules()] == [torchbp.is_converted(m) for m in model.modules()]
    torch.testing.assert_close(gradients(twin), before)
    if way is not copy.copy:  # which copies no layer of the model
        assert twin.body[4].mark == 1
        assert twin.body[4].cache is None
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        twin.zero_grad()
        torch.testing.assert_close(gradients(twin), before)  # it computes with its own parameters
        assert not any(torchbp.is_converted(m) for m in torchbp.revert(twin).modules())
    layer = torchbp.convert(nn.Linear(3, 2))
    one = way(layer)
    assert type(one) is nn.Linear
    assert torchbp.is_converted(one)
    assert one.forward.__self__ is one


def test_a_replica_of_data_parallel_computes_with_its_own_parameters():
    torch.manual_seed(0)
    layer, x = torchbp.convert(nn.Linear(3, 2)), torch.randn(4, 3)
    replica = layer._replicate_for_data_parallel()
    replica.weight, replica.bias = 2 * layer.weight, 0 * layer.bias
    torch.testing.assert_close(replica(x), 2 * x @ layer.weight.T)
    assert isinstance(replica(x).grad_fn, torch.autograd.function.BackwardCFunction)
    collected = weakref.ref(replica)
    gc.disable()
    try:
        del replica
        assert collected() is None  # one is made in each step: none may wait for the garbage collector
    finally:
        gc.enable()


def test_parameters_from_outside():
    torch.manual_seed(0)
    models = [torchbp.convert(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))) for _ in range(3)]
    x = torch.randn(5, 3)
    given = {name: torch.full_like(p, 0.5) for name, p in models[0].named_parameters()}
    expected = functional_call(torchbp.revert(copy.deepcopy(models[0])), given, x)
    torch.testing.assert_close(functional_call(models[0], given, x), expected)
    parameters, buffers = stack_module_state(models)
    together = torch.vmap(lambda p, b: functional_call(models[0], (p, b), x))(parameters, buffers)
    torch.testing.assert_close(together, torch.stack([model(x) for model in models]))


def test_memory_may_be_shared_and_apply_finds_the_layers():
    model = torchbp.convert(Tree()).share_memory()
    assert all(p.is_shared() for p in model.parameters())

    def initialise(module):
        if type(module) is nn.Linear:
            nn.init.constant_(module.weight, 0.25)

    model.apply(initialise)
    assert model.body[0].weight.eq(0.25).all()
    assert not model.body[4].weight.eq(0.25).all()  # of a subclass


@pytest.mark.usefixtures("fresh_compiler")
def test_blocks_compile_once_for_all():
    """Each layer has its forward, and the blocks of a network share one compiled program all the same."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.tanh = nn.Linear(3, 3), nn.Tanh()

        def forward(self, x):
            return self.tanh(self.linear(x))

    torch.manual_seed(0)
    blocks, x, graphs = [torchbp.convert(Block()) for _ in range(3)], torch.randn(4, 3), []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    for block in blocks:
        torch.testing.assert_close(torch.compile(block, fullgraph=True, backend=backend)(x), block(x))
    assert len(graphs) == 1
    assert "autograd_function_apply" in graphs[0].code or "Function" in graphs[0].code  # our formulas
    torchbp.revert(blocks[0])
    torch.compile(blocks[0], fullgraph=True, backend=backend)(x)
    assert len(graphs) == 2  # the program of the converted ones does not run in its place


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_can_be_trained(strict):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(5, 3)
    expected = model(x)
    exported = torch.export.export(torchbp.convert(model), (x,), strict=strict)
    output = exported.module()(x)
    assert output.requires_grad
    torch.testing.assert_close(output, expected)
    assert [str(n.target) for n in exported.graph.nodes if n.op == "call_function"] == [
        "aten.linear.default",
        "aten.tanh.default",
        "aten.linear.default",
    ]


def test_torch_fx_sees_torchs_layers():
    model, x = torchbp.convert(nn.Sequential(nn.Linear(3, 4), nn.Tanh())), torch.randn(5, 3)
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "call_module", "output"]
    assert all(torchbp.is_converted(layer) for layer in traced.children())
    torch.testing.assert_close(traced(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_script_is_refused_and_a_trace_is_not():
    for model in (nn.Linear(3, 2), nn.Sequential(nn.Tanh(), nn.Linear(3, 2))):
        x = torch.randn(4, 3)
        torchbp.convert(model)
        with pytest.raises(RuntimeError, match=r"script cannot compile a converted \w+: .* torchbp.revert\(model\)"):
            torch.jit.script(model)
        torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x))
        torch.testing.assert_close(torch.jit.script(torchbp.revert(model))(x), model(x))


def test_a_forward_that_was_set_after_convert_is_respected():
    layer = torchbp.convert(nn.Linear(3, 2))
    ours = layer.forward
    layer.forward = lambda x: 2 * ours(x)  # as adapters do
    assert not torchbp.is_converted(layer)
    reports = []
    torchbp.revert(layer, report=reports.append)
    assert reports[0].left == {"the model itself": "another forward was set on this Linear after convert"}
    layer.forward = ours
    assert torchbp.is_converted(layer)
    torchbp.revert(layer)
    assert vars(layer).keys() == vars(nn.Linear(3, 2)).keys()


def test_the_engine_and_a_fused_network_know_a_converted_layer():
    torch.manual_seed(0)
    net = torchbp.convert(nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 1)))
    twin, x, y = torchbp.revert(copy.deepcopy(net)), torch.randn(6, 3), torch.ones(6, 1)
    for model in (net, twin):
        optimizer = torchbp.SGD(model, lr=0.5)
        optimizer.backprop_step(x, y)
        torchbp.revert(torchbp.convert(model))
        torchbp.convert(model)
        optimizer.backprop_step(x, y)
    torch.testing.assert_close(net.state_dict(), twin.state_dict())
    assert "dL/dW1" in torchbp.explain(net, x[0], y[0], lr=0.5).to_text()
    net[0].forward = lambda x: x
    with pytest.raises(TypeError, match="has another forward than its class"):
        torchbp.SGD(net, lr=0.5)
    fused = torchbp.convert(torchbp.nn.FusedMLP(3, 4, 1))
    assert fused(x).shape == (6, 1)
    assert torchbp.check(torchbp.convert(nn.Linear(3, 2).double()), x.double(), checks="fast").sound


def test_what_cannot_be_swapped_is_left_with_its_reason():
    lazy, patched = nn.LazyLinear(3), nn.Linear(3, 3)
    patched.forward = lambda x: x
    reports = []
    torchbp.convert(nn.Sequential(lazy, patched, nn.LPPool1d(1, 1)), report=reports.append)
    assert reports[0].left == {
        "0": "LazyLinear has no parameters yet; run it once first",
        "1": "Linear overrides forward",
        "2": "torchbp has no LPPool1d",
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
        "clip": nn.Hardtanh(), "odd": nn.Bilinear(2, 1, 1), "theirs": Linear(), "loss": nn.CTCLoss(),
        "cell": nn.LSTMCell(2, 1), "none": nn.Sequential(), "list": nn.ModuleList([nn.Tanh()]),
    })  # fmt: skip
    report = report_of(model)
    assert report.swapped == ["list.0"]
    assert report.left == {
        "clip": "torchbp has no Hardtanh",
        "odd": "torchbp has no Bilinear",
        "theirs": f"torchbp has no {__name__}.Linear",
        "loss": "torchbp has no CTCLoss",
        "cell": "torchbp has no LSTMCell",
    }


def test_what_is_swapped_and_does_not_run_our_formula_is_named(monkeypatch):
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=3, batch_first=True)
    model = nn.Sequential(layer, nn.ReLU(inplace=True), nn.ReLU(), nn.Linear(4, 4))
    report = report_of(model)
    fused = "self_attn", "linear1", "linear2", "norm1", "norm2"
    others = "self_attn.out_proj", "dropout", "dropout1", "dropout2"
    assert set(report.swapped) == {*(f"0.{name}" for name in (*fused, *others)), "1", "2", "3"}
    reason = "in eval mode without gradients, TransformerEncoderLayer runs torch's fused kernel"
    assert report.bypassed == {
        **{f"0.{name}": reason for name in fused},
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


def test_what_is_no_module_is_refused():
    for change in (torchbp.convert, torchbp.revert):
        with pytest.raises(TypeError, match=r"model is of the type Tensor; give a torch\.nn\.Module"):
            change(torch.ones(3))


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
