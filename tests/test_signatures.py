"""What has a namesake in torch takes the same arguments, in the same order, with the same defaults."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import get_testing_overrides

import torchbp
from torchbp.engine.optimizers.optimizer import EngineOptimizer
from torchbp.ops.registry import rules
from torchbp.ops.rules import Loss

INCOMPLETE = {  # in torch's own list of signatures; its operators tell all
    F.gelu: torch.ops.aten.gelu,
    F.scaled_dot_product_attention: torch.ops.aten.scaled_dot_product_attention,
}


def parameters(function):
    """(name, kind, default) of each parameter; torch's own builtins have no signature but that of an override."""
    if function in INCOMPLETE:
        return [of_argument(argument) for argument in INCOMPLETE[function].default._schema.arguments]
    try:
        signature = inspect.signature(function)
    except ValueError:
        signature = inspect.signature(get_testing_overrides()[function])
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def of_argument(argument):
    kind = inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    name = "input" if argument.name == "self" else argument.name
    return name, kind, argument.default_value if argument.has_default_value() else inspect.Parameter.empty


OPS = [name for name in torchbp.ops.__all__ if hasattr(F, name)]
MODULES = [name for name in torchbp.nn.__all__ if hasattr(torch.nn, name)]
OPTIMIZERS = "SGD", "Adam", "AdamW"
METHODS = [
    name
    for name in dir(EngineOptimizer)
    if getattr(EngineOptimizer, name) is not getattr(torch.optim.Optimizer, name, None)
    and hasattr(torch.optim.SGD, name)
    and not name.startswith("__")
]


def test_what_has_a_namesake():
    assert {"linear", "conv2d"} <= set(OPS)
    assert {"Linear", "Conv2d"} <= set(MODULES)
    assert {"step", "add_param_group"} <= set(METHODS)


@pytest.mark.parametrize("name", OPS)
def test_an_operation_has_torchs_signature(name):
    # F.max_pool2d is a choice between two functions of one signature
    torchs = getattr(F, f"{name}_with_indices", getattr(F, name))
    assert parameters(getattr(torchbp.ops, name)) == parameters(torchs)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_torchs_signatures(name):
    ours, torchs = (getattr(package, name) for package in (torchbp.nn, torch.nn))
    assert parameters(ours) == parameters(torchs)
    assert parameters(ours.forward) == parameters(torchs.forward)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_may_be_given_to_an_optimizer_by_position_is_torchs(name):
    ours, torchs = (parameters(getattr(package, name)) for package in (torchbp, torch.optim))
    by_position = [p for p in torchs if p[1] is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert ours[0][0] == "model"
    assert ours[1 : len(by_position)] == by_position[1:]
    assert {kind for _, kind, _ in ours[len(by_position) :]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", [name for name in METHODS if callable(getattr(torchbp.SGD, name))])
def test_a_method_of_an_optimizer_has_torchs_signature(name, optimizer):
    ours, torchs = (getattr(getattr(package, optimizer), name) for package in (torchbp, torch.optim))
    assert parameters(ours) == parameters(torchs)


def test_an_ensembles_layer_takes_what_a_linear_layer_takes_after_its_members():
    own = parameters(torchbp.nn.EnsembleLinear)
    assert own[0][0] == "members"
    assert own[1:] == parameters(torch.nn.Linear)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SGD", (0.5, 0.9, 0.25)),
        ("SGD", (0.5, 0.9, 0, 0.1, True)),
        ("Adam", (0.1, (0.8, 0.9), 0.01, 0.2)),
        ("AdamW", (0.1, (0.8, 0.9), 0.01, 0.2)),
    ],
    ids=str,
)
def test_positional_arguments_of_an_optimizer_mean_what_torchs_mean(name, arguments):
    ours = torchbp.nn.MLP(3, 4, 1, dtype=torch.double)
    theirs = copy.deepcopy(ours)
    own, torchs = (getattr(package, name) for package in (torchbp, torch.optim))
    optimizers = own(ours, *arguments), torchs(theirs.parameters(), *arguments)
    x, y = torch.randn(5, 3, dtype=torch.double), torch.rand(5, 1, dtype=torch.double)
    for _ in range(3):
        optimizers[0].backprop_step(x, y)
        optimizers[1].zero_grad()
        F.binary_cross_entropy_with_logits(theirs(x), y).backward()
        optimizers[1].step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("old", [(False, None), (None, False), (True, True), (False, True)])
@pytest.mark.parametrize(
    "name", [name for name in OPS if "size_average" in inspect.signature(getattr(torchbp.ops, name)).parameters]
)
@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
def test_torchs_old_way_to_say_the_reduction(name, old):
    """`old` is `size_average` and `reduce`, each in its own place."""
    names = list(inspect.signature(getattr(F, name)).parameters)
    given = {"size_average": old[0], "reduce": old[1], "ignore_index": -100, "weight": torch.rand(3)}
    a, y = torch.rand(4, 3, requires_grad=True), torch.rand(4, 3)
    y = torch.randint(3, (4,)) if name == "nll_loss" else y
    arguments = [given[argument] for argument in names[2 : names.index("reduce") + 1]]
    results = [getattr(package, name)(a, y, *arguments) for package in (torchbp.ops, F)]
    torch.testing.assert_close(*results)


PROBABILITIES, LOGITS, CLASSES = torch.rand(4, 3), torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
LOSSES = {  # as many arguments as torch takes before the last one, the reduction or what follows it
    "binary_cross_entropy": (PROBABILITIES, torch.rand(4, 3), torch.rand(3), None, None, "sum"),
    "binary_cross_entropy_with_logits": (LOGITS, torch.rand(4, 3), torch.rand(3), None, None, "none", torch.rand(3)),
    "cross_entropy": (LOGITS, CLASSES, torch.rand(3), None, 1, None, "none", 0.2),
    "huber_loss": (LOGITS, torch.rand(4, 3), "none", 0.3, torch.rand(4, 3)),
    "kl_div": (LOGITS, torch.rand(4, 3), None, None, "batchmean", True),
    "l1_loss": (LOGITS, torch.rand(4, 3), None, None, "sum", torch.rand(4, 3)),
    "mse_loss": (LOGITS, torch.rand(4, 3), None, None, "sum", torch.rand(4, 3)),
    "nll_loss": (LOGITS, CLASSES, torch.rand(3), None, 1, None, "none"),
    "smooth_l1_loss": (LOGITS, torch.rand(4, 3), None, None, "sum", 0.3),
}


@pytest.mark.parametrize("name", [rule.name for rule in rules(Loss).values() if rule.name in OPS])
def test_the_arguments_of_a_loss_by_position_mean_what_torchs_mean(name):
    """ops.mse_loss(x, y, None, None, "sum"), and so on."""
    results = [getattr(package, name)(*LOSSES[name]) for package in (torchbp.ops, F)]
    torch.testing.assert_close(*results)


ARGUMENTS = {
    **{f"Conv{n}d": (4, 6, 3, 2, 1, 1, 2, False) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": (4, 6, 3, 2, 1, 1, 2, False) for n in (1, 2, 3)},
    **{f"MaxPool{n}d": (3, 2, 1, 2, True, True) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": (3, 2, 1, True, False) for n in (1, 2, 3)},
    **{f"AdaptiveAvgPool{n}d": (3,) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": (4, 1e-3, 0.2, False, False) for n in (1, 2, 3)},
    **{f"Dropout{n}": (0.2, True) for n in ("", "1d", "2d", "3d")},
    **{f"InstanceNorm{n}d": (4, 1e-3, 0.2, True, True) for n in (1, 2, 3)},
    **dict.fromkeys(("Hardsigmoid", "Hardswish", "Mish", "SELU", "SiLU"), (True,)),
    "CrossEntropyLoss": (None, None, 3, None, "sum", 0.1),
    "ELU": (0.5, True),
    "Embedding": (5, 3, 1, 2.0, 1.0),
    "Flatten": (0, 1),
    "GELU": ("tanh",),
    "GLU": (1,),
    "GroupNorm": (2, 4, 1e-3, False),
    "HuberLoss": ("sum", 0.5),
    "KLDivLoss": (None, None, "sum", True),
    "L1Loss": (None, None, "sum"),
    "LayerNorm": ((3,), 1e-3, True, False),
    "LeakyReLU": (0.2, True),
    "LogSigmoid": (),
    "LogSoftmax": (1,),
    "NLLLoss": (None, None, 3, None, "sum"),
    "PReLU": (3, 0.2),
    "RMSNorm": ((3,), 1e-3, False),
    "SmoothL1Loss": (None, None, "sum", 0.5),
    "Softmax": (1,),
    "Softplus": (2.0, 10.0),
    "BCELoss": (None, None, None, "sum"),
    "BCEWithLogitsLoss": (None, None, None, "sum", torch.ones(3)),
    "Linear": (3, 2, False),
    "MultiheadAttention": (4, 2, 0.1, False, True, True, 3, 5, True),
    "MSELoss": (None, None, "sum"),
    "ReLU": (True,),
    "Sigmoid": (),
    "Tanh": (),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_arguments_of_a_module_by_position_mean_what_torchs_mean(name):
    modules = []
    for package in (torchbp.nn, torch.nn):
        torch.manual_seed(0)
        modules.append(getattr(package, name)(*ARGUMENTS[name]))
    ours, torchs = modules
    assert repr(ours) == repr(torchs)
    attributes = [{k: v for k, v in vars(m).items() if not k.startswith("_")} for m in modules]
    assert attributes[0] == attributes[1]
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict(), rtol=0, atol=0)
