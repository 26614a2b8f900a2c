"""Leaves that a function holds in whatever way: their gradients are compared, or a note says that they are not."""

import collections
import dataclasses
import functools
import types
import weakref

import pytest
import torch
from torch import nn

import torchbp
from tests.testing.corpus.entry import draw
from torchbp.testing.subject.captured.leaves import without_captured_leaves


class Half(torch.autograd.Function):
    """x · w, and half of the gradient by w."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, g * x / 2


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    w: torch.Tensor


class Hidden:
    __slots__ = ("__w",)

    def __init__(self, w):
        self.__w = w

    def get(self):
        return self.__w

    def apply(self, x):
        return Half.apply(x, self.__w)


class Texts(dict):
    def __init__(self, *, items):
        super().__init__(items)


class Pair(tuple):
    pass


def by_default(x, method=Hidden(draw(3, seed=1)).apply):  # noqa: B008
    return method(x)


class OfClass:
    w = draw(3, seed=1)


def by_item(key):
    return lambda holder: holder[key]


def by_name(holder):
    return holder.w


LEAF = draw(3, seed=1)
HOLDERS = {  # name of the leaf: (its holder, how the function gets it)
    "holder['w']": (collections.OrderedDict(w=LEAF), by_item("w")),
    "holder['v']": (collections.defaultdict(list, v=LEAF), by_item("v")),
    "holder['u']": (Texts(items={"u": LEAF}), by_item("u")),
    "holder[0]": (collections.deque([LEAF]), by_item(0)),
    "holder[1]": (Pair([0, LEAF]), by_item(1)),
    "holder.data['w']": (collections.UserDict(w=LEAF), by_item("w")),
    "holder.maps[0]['w']": (collections.ChainMap({"w": LEAF}), by_item("w")),
    "holder.w": (Frozen(LEAF), by_name),
    "holder[0].w": ([types.SimpleNamespace(w=LEAF)], lambda holder: holder[0].w),
    "holder[1].w": ([0, OfClass()], lambda holder: holder[1].w),
    "holder._Hidden__w": (Hidden(LEAF), lambda holder: holder.get()),
    "holder.0": (nn.ParameterList([LEAF]), by_item(0)),
}


def values(function):
    return torchbp.check(function, draw(3), checks="values", raise_exception=False)


@pytest.mark.parametrize("name", HOLDERS)
def test_a_wrong_gradient_of_what_is_held_is_found(name):
    holder, get = HOLDERS[name]
    report = values(lambda x: Half.apply(x, get(holder)))
    assert report["values"].message == f"the gradient of {name} is wrong", str(report)
    assert report.notes == ()
    assert values(lambda x: x * get(holder)).sound
    assert get(holder) is LEAF or get(holder) is OfClass.w or torch.equal(get(holder), LEAF)  # the caller's stays


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (functools.partial(lambda w, x: Half.apply(x, w), draw(3, seed=1)), "args[0]"),
        (functools.partial(lambda x, w: Half.apply(x, w), w=draw(3, seed=1)), "w"),
        (Hidden(draw(3, seed=1)).apply, "_Hidden__w"),
        (by_default, "_Hidden__w"),
    ],
)
def test_partials_and_methods(function, name):
    report = values(function)
    assert report["values"].message == f"the gradient of {name} is wrong", str(report)


class Cut(torch.autograd.Function):
    """It reads a leaf that is no argument of it, so that there is no gradient of the leaf."""

    @staticmethod
    def forward(ctx, x):
        return x * LEAF

    @staticmethod
    def backward(ctx, g):
        return g * LEAF


APPLY = Cut.apply


@pytest.mark.parametrize(
    "function", [Cut, Cut.apply, lambda x: Cut.apply(x), lambda x: APPLY(x)], ids=["class", "apply", "used", "variable"]
)
def test_a_leaf_that_a_function_reads_in_its_forward_is_cut(function):
    report = values(function)
    assert report["values"].message == "the gradient of LEAF is wrong", str(report)
    assert "zero everywhere: the graph is cut" in str(report)


UNREACHED = {
    "set": ({LEAF}, lambda holder: next(iter(holder))),
    "class": (OfClass, by_name),
    "view": (types.MappingProxyType({"w": LEAF}), by_item("w")),
    "reference": (weakref.ref(LEAF), lambda holder: holder()),
    "module": (types.ModuleType("of_numbers"), by_name),
    "depth": ([[[[[[LEAF]]]]]], lambda holder: holder[0][0][0][0][0][0]),
    "length": ([0] * 200 + [LEAF], by_item(-1)),
    "product": (2 * LEAF, lambda holder: holder),
}
UNREACHED["module"][0].w = LEAF


@pytest.mark.parametrize("name", UNREACHED)
def test_what_is_not_found_is_noted(name):
    holder, get = UNREACHED[name]

    def function(x):
        return x * get(holder)

    report = values(function)
    assert report.notes == (
        "not varied, and its gradient not compared: a tensor of shape (3,) that function holds and that requires a "
        "gradient; give it as an argument",
    )


def test_a_leaf_that_a_module_does_not_register_is_noted():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = [nn.Parameter(torch.ones(2, 3))]

        def forward(self, x):
            return x @ self.weights[0].t().to(x)

    (note,) = values(Keeps()).notes
    assert note.endswith("of shape (2, 3) that Keeps holds and that requires a gradient; register it as a parameter")


def test_what_the_call_makes_itself_is_not_held():
    def force(x):
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            return torch.autograd.grad(y.pow(3).sum(), y, create_graph=True)[0] * x

    assert not [note for note in values(force).notes if "holds" in note]


weight = draw(3, seed=2)  # a global of the name of an attribute below


def test_an_attribute_is_no_variable_of_its_name():
    """Else a leaf that the function does not read would be taken for one."""
    holder = types.SimpleNamespace(weight=draw(3, seed=3, grad=False))
    assert without_captured_leaves(lambda x: x * holder.weight)[1] == {}
    report = values(lambda x: Half.apply(x, holder.weight) + Half.apply(x, weight))
    assert report["values"].message == "the gradient of weight is wrong"


def test_leaves_of_a_closure_are_audited_and_left_alone():
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)
    layer = nn.Linear(3, 2)
    for function in (lambda x: x * weight, lambda x: layer(x), layer.forward):
        assert torchbp.check(function, draw(3), checks="fast").sound
    report = values(lambda x: Half.apply(x, weight))
    assert "the gradient of weight is wrong" in report["values"].message
    assert weight.grad is None
    assert layer.weight.grad is None
    assert layer.weight.dtype == torch.float32


SCALE = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)


def test_leaves_are_found_in_the_functions_that_a_function_defines():
    def scaled(x):
        return torch.stack([Half.apply(row, SCALE) for row in x])

    assert "the gradient of SCALE is wrong" in values(scaled)["values"].message
    assert SCALE.grad is None
