"""torchbp.formulas and convert(functional=True): the functions of torch that a model calls run our formulas."""

import contextlib
import copy
import inspect
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchbp
from tests.graphs import ours_of
from torchbp.ops import registry


class Conv1D(nn.Module):
    """As that of GPT-2: a product with a bias."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], -1)


class Calls(nn.Module):
    """A model that calls functions and methods, and has modules with a forward of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Linear(4, 4), Conv1D(4, 4)
        self.w = nn.Parameter(torch.randn(4, 4))

    def forward(self, x, scale: float = 1.0):
        x = F.relu(self.first(x)) + torch.sigmoid(x)
        x = self.conv(x.sigmoid()).tanh()
        return scale * F.linear(x @ self.w.T, self.w).matmul(self.w)


NAMES = ["Linear", "ReLU", "Sigmoid", "Sigmoid", "AddMatmul", "Tanh", "Matmul", "Linear", "Matmul"]


def functions_of(output):
    """The names of our Functions in the graph, sorted."""
    return sorted(type(node)._forward_cls.__name__ for node in ours_of(output))


def results(model, x):
    output = model(x)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), list(model.parameters()))]


@pytest.fixture
def models():
    torch.manual_seed(0)
    model = Calls()
    return model, torchbp.convert(copy.deepcopy(model), functional=True), torch.randn(2, 3, 4, requires_grad=True)


def test_functions_run_our_formulas(models):
    model, ours, x = models
    assert functions_of(ours(x)) == sorted(NAMES)
    assert functions_of(model(x)) == []
    with torchbp.formulas():
        assert functions_of(model(x)) == sorted(NAMES)
    torch.testing.assert_close(results(ours, x), results(model, x))
    assert inspect.signature(ours.forward) == inspect.signature(model.forward)
    torch.testing.assert_close(ours(x, scale=2.0), 2 * model(x))


def test_the_report_names_them():
    reports, model = [], nn.Sequential(Calls(), nn.Bilinear(1, 1, 1), torchbp.nn.FusedMLP(4, 2, 1))
    torchbp.convert(model, report=reports.append, functional=True)
    assert reports[0].swapped == ["0.first"]
    assert reports[0].functional == ["0", "0.conv"]
    assert reports[0].left == {"1": "torchbp has no Bilinear"}
    assert "calls of torch's functions in 2: 0, 0.conv" in str(reports[0])
    assert torchbp.is_converted(model[0])
    torchbp.convert(model, report=reports.append, functional=True)
    assert (reports[1].swapped, reports[1].functional) == ([], [])
    torchbp.revert(model, report=reports.append)
    assert reports[2].swapped == ["0", "0.first", "0.conv"]
    assert not any(torchbp.is_converted(module) for module in model.modules())
    assert functions_of(model[0](torch.randn(2, 4))) == []


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_call_our_formulas_too(models, way):
    _, ours, x = models
    twin = way(ours)
    assert twin.forward.__self__ is twin
    assert functions_of(twin(x)) == sorted(NAMES)
    torch.testing.assert_close(results(twin, x), results(ours, x))
    if way is not copy.copy:  # which shares the layers
        assert functions_of(torchbp.revert(twin)(x)) == []


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_model_runs_our_formulas(models):
    model, ours, x = models
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    compiled = torch.compile(ours, fullgraph=True, backend=backend)
    torch.testing.assert_close(results(compiled, x)[0], results(model, x)[0])
    assert graphs[0].code.count("autograd_function_apply(") == len(NAMES)
    with torchbp.formulas():
        torch.testing.assert_close(torch.compile(model, fullgraph=True, backend=backend)(x), model(x))
    assert graphs[1].code.count("autograd_function_apply(") == len(NAMES)


def test_without_gradients_nothing_changes(models):
    model, ours, x = models
    with torch.no_grad():
        torch.testing.assert_close(ours(x), model(x), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), model(x), rtol=0, atol=0)


def test_what_writes_is_left_to_torch():
    x = torch.linspace(-1, 1, 5).requires_grad_()
    with torchbp.formulas():
        z = x * 1
        F.relu(z, inplace=True)
        z.sigmoid_()
        out = torch.empty(5)
        assert torch.sigmoid(x.detach(), out=out) is out
        with pytest.raises(RuntimeError, match="out="):  # torch's refusal
            torch.sigmoid(x, out=out)
    torch.testing.assert_close(z, x.relu().sigmoid())
    torch.testing.assert_close(out, x.detach().sigmoid())


A, B, C = (4, 3), (3, 2), (2,)
IMAGE, KERNEL = (2, 3, 5, 5), (4, 3, 3, 3)
ROWS = torch.tensor([[1, 2], [3, 1]])
REACHED = {  # the name of the Function, the shapes of tensors, a call
    "F.dropout": ("Dropout", [A], lambda x: F.dropout(x, 0.4)),
    "torch.softmax": ("Softmax", [A], lambda x: torch.softmax(input=x, dim=1, dtype=torch.double)),
    "Tensor.softmax": ("Softmax", [A], lambda x: x.softmax(-1, torch.double)),
    "F.softmax": ("Softmax", [A], lambda x: F.softmax(x, dim=-1, dtype=torch.double)),
    "Tensor.log_softmax": ("LogSoftmax", [A], lambda x: x.log_softmax(-1)),
    "torch.special.expit": ("Sigmoid", [A], torch.special.expit),
    "F.tanh": ("Tanh", [A], F.tanh),
    "torch.addmm": ("AddMatmul", [C, A, B], lambda c, a, b: torch.addmm(input=c, mat1=a, mat2=b, beta=2, alpha=3)),
    "Tensor.addmm": ("AddMatmul", [C, A, B], lambda c, a, b: c.addmm(a, b)),
    "torch.mm": ("Matmul", [A, B], lambda a, b: torch.mm(a, mat2=b)),
    "torch.mv": ("Matmul", [A, (3,)], torch.mv),
    "torch.dot": ("Matmul", [(3,), (3,)], torch.dot),
    "torch.bmm": ("Matmul", [(2, 4, 3), (2, 3, 2)], torch.bmm),
    "torch.linalg.matmul": ("Matmul", [A, B], torch.linalg.matmul),
    "out=None": ("Matmul", [A, B], lambda a, b: torch.matmul(a, b, out=None)),
    "F.embedding": ("Embedding", [(5, 3)], lambda w: F.embedding(ROWS, w, 1)),
    "F.layer_norm": ("LayerNorm", [A, (3,)], lambda x, w: F.layer_norm(x, (3,), w)),
    "F.conv2d": ("Conv", [IMAGE, KERNEL], lambda x, w: F.conv2d(x, w, padding="same")),
    "torch.conv2d": ("Conv", [IMAGE, KERNEL], lambda x, w: torch.conv2d(input=x, weight=w, bias=None, stride=(2, 1))),
    "F.max_pool2d": ("MaxPool", [IMAGE], lambda x: F.max_pool2d(x, 2)),
    "torch.max_pool2d": ("MaxPool", [IMAGE], lambda x: torch.max_pool2d(x, 2, (), 1, ceil_mode=True)),
    "with indices": ("MaxPool", [IMAGE], lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "torch.special.log_softmax": ("LogSoftmax", [A], lambda x: torch.special.log_softmax(x, 1)),
    "F.cross_entropy": ("CrossEntropy", [A], lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, -100]))),
    "F.gumbel_softmax": ("Softmax", [A], lambda x: F.gumbel_softmax(x, 0.5)),  # which calls softmax
    "sparse": (None, [A], lambda x: torch.eye(4).double().to_sparse() @ x),
    "addmm in its old order": (None, [C, A, B], lambda c, a, b: torch.addmm(2, c, 3, a, b)),
    "einsum": (None, [A, B], lambda a, b: torch.einsum("ij,jk", a, b)),
    "without autograd": (None, [A, B], lambda a, b: torch.matmul(a, b, out=a.new_empty(4, 2))),
}


@pytest.mark.parametrize("name", REACHED)
@pytest.mark.filterwarnings("ignore:This overload of addmm is deprecated")
def test_what_is_reached_and_what_is_left(name):
    ours, shapes, call = REACHED[name]
    torch.manual_seed(0)
    leaves = [torch.randn(shape, dtype=torch.double, requires_grad=name != "without autograd") for shape in shapes]
    results = []
    for formulas in (contextlib.nullcontext(), torchbp.formulas()):
        torch.manual_seed(1)
        with formulas:
            output = call(*leaves)
        gradients = torch.autograd.grad(output.square().sum(), leaves) if output.requires_grad else ()
        results.append([output.detach(), *gradients])
    torch.testing.assert_close(*results)
    assert functions_of(output) == ([] if ours is None else [ours])


class Closure(nn.Module):
    """It checkpoints a method, whose recomputation is outside of every context, and a module."""

    def __init__(self):
        super().__init__()
        self.w, self.calls = nn.Parameter(torch.randn(4, 4)), Calls()

    def method(self, x):
        return F.softmax(F.rms_norm(x @ self.w, (4,)), -1)

    def forward(self, x, module=None):  # a name that a wrapper may use, too
        x = checkpoint(self.method, F.silu(x), use_reentrant=False)
        return checkpoint(self.calls, x, use_reentrant=False)


def test_checkpoints_that_a_model_makes():
    torch.manual_seed(0)
    model, x = Closure(), torch.randn(3, 4, requires_grad=True)
    expected = results(model, x)
    ours = torchbp.convert(copy.deepcopy(model), functional=True)
    torch.testing.assert_close(results(ours, x), expected)
    assert functions_of(ours(x, module=3)) == sorted([*NAMES, "SiLU"])
    with torchbp.formulas():
        torch.testing.assert_close(results(model, x), expected)


def test_a_forward_that_is_no_plain_method_is_left():
    def later(module, x):
        yield x.sigmoid()

    async def awaited(module, x):
        return x.sigmoid()

    for forward in (staticmethod(torch.sigmoid), classmethod(lambda cls, x: x.sigmoid()), later, awaited):
        made, reports = type("Made", (nn.Module,), {"forward": forward})(), []
        torchbp.convert(made, functional=True, report=reports.append)
        assert reports[0].functional == []


def test_attention_of_torch():
    """`F.multi_head_attention_forward`: its products and its softmax are ours."""
    torch.manual_seed(0)
    attention, x = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True), torch.randn(2, 5, 4, requires_grad=True)
    ours = torchbp.convert(copy.deepcopy(attention), functional=True)
    for options in ({}, {"need_weights": False}):
        found = []
        for module in (attention, ours):
            torch.manual_seed(1)
            output = module(x, x, x, **options)[0]
            found.append([output.detach(), *torch.autograd.grad(output.square().sum(), [x, *module.parameters()])])
        torch.testing.assert_close(*found)
        assert functions_of(output).count("Linear") == 2


def test_a_context_holds_for_its_thread_and_may_be_nested():
    x, found = torch.randn(3, requires_grad=True), {}
    inside, done = threading.Event(), threading.Event()

    def other():
        inside.wait()
        found["other thread"] = functions_of(x.sigmoid())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with torchbp.formulas(), torchbp.formulas():
        inside.set()
        done.wait()
        found["here"] = functions_of(x.sigmoid())
    thread.join()
    found["after"] = functions_of(x.sigmoid())
    assert found == {"other thread": [], "here": ["Sigmoid"], "after": []}


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_module_runs_our_formulas(models, reentrant):
    _, ours, x = models
    checkpoint(ours, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(ours(x).square().sum(), x)[0])


def test_transforms_of_torch_func():
    def loss(w, x):
        return F.linear(x, w).sigmoid().square().sum()

    torch.manual_seed(0)
    w, x = torch.randn(2, 3, dtype=torch.double), torch.randn(4, 3, dtype=torch.double)
    calls = {
        "per sample": lambda: torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(w, x),
        "hessian": lambda: torch.func.hessian(loss)(w, x),
        "jvp": lambda: torch.func.jvp(loss, (w, x), (w, x)),
    }
    for call in calls.values():
        expected = call()
        with torchbp.formulas():
            got = call()
        torch.testing.assert_close(got, expected)


TAKES_ARGUMENTS = [function for function in registry._functions if callable(function)]


@pytest.mark.parametrize("function", TAKES_ARGUMENTS, ids=lambda f: getattr(f, "__qualname__", str(f)))
def test_each_function_has_the_arguments_of_torchs(function):
    """Where Python can tell: the names in the same order, so that a call by keyword or by place means the same."""
    try:
        torchs = inspect.signature(function)
    except ValueError:
        return  # it is built in, and does not tell its arguments
    if any(p.kind is p.VAR_POSITIONAL for p in torchs.parameters.values()):
        return
    ours = inspect.signature(registry.of_torch(function))
    assert list(ours.parameters)[: len(torchs.parameters)] == list(torchs.parameters)
