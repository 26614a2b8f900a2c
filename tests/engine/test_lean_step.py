"""What a step keeps from the last one: whatever is changed between two steps, the next one knows it."""

import collections
import copy
import gc
import linecache
import traceback

import pytest
import torch

import torchbp
from tests.networks import assert_same, mlp, rows
from torchbp.engine.optimizers.lean_step import LeanStep
from torchbp.ops.registry import rules as rules_of
from torchbp.ops.rules import Layer

MAKE = {
    "plain": lambda net: torchbp.SGD(net, lr=0.3),
    "momentum": lambda net: torchbp.SGD(net, lr=0.3, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda net: torchbp.AdamW(net, lr=0.02),
}
optimizers = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def set_in_groups(**options):
    return lambda model, optimizer: [group.update(options) for group in optimizer.param_groups]


def replace_a_parameter(model, optimizer):
    new = torch.nn.Parameter(torch.full_like(model[0].weight, 0.2))
    group, old = optimizer.param_groups[0], model[0].weight
    group["params"] = [new if p is old else p for p in group["params"]]
    optimizer.state.pop(old, None)
    model[0].weight = new


def swap_data(model, optimizer):
    model[2].weight.data = torch.full_like(model[2].weight, 0.1)


def freeze(model, optimizer):
    model[0].weight.requires_grad_(False)


def freeze_a_layer(model, optimizer):
    model[2].requires_grad_(False)


def forget(model, optimizer):
    optimizer.state.clear()


def forget_by_a_new_state(model, optimizer):
    optimizer.state = collections.defaultdict(dict)


def load(model, optimizer):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.mul_(0.5)


def leave_a_parameter_out(model, optimizer):
    optimizer.param_groups[0]["params"].pop()


def another_group(model, optimizer):
    optimizer.add_param_group({"params": [optimizer.param_groups[0]["params"].pop()], "lr": 0.01})


def another_dtype(model, optimizer):
    model.float()


def write_into_weights(model, optimizer):
    with torch.no_grad():
        model[0].weight.mul_(0.5)


CHANGES = {
    "lr": set_in_groups(lr=0.007),
    "lr that is a tensor": set_in_groups(lr=torch.tensor(0.007, dtype=torch.double)),
    "weight decay": set_in_groups(weight_decay=0.3),
    **{f.__name__: f for f in (replace_a_parameter, swap_data, freeze, freeze_a_layer, forget, forget_by_a_new_state)},
    **{f.__name__: f for f in (load, leave_a_parameter_out, another_group, another_dtype, write_into_weights)},
}


@optimizers
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_between_steps_is_noticed(change, make):
    """Beside an optimizer that keeps nothing."""
    models = [mlp((3, 4, 2)) for _ in range(2)]
    pair = [make(model) for model in models]
    batches = [rows(6) for _ in range(4)]
    for number, (x, y) in enumerate(batches):
        if number == 2:
            for model, optimizer in zip(models, pair, strict=True):
                change(model, optimizer)
        x, y = (t.to(models[0][0].weight.dtype) for t in (x, y))
        pair[0].backprop_step(x, y)
        assert number != 1 or pair[0]._lean.inputs.before is not None  # something is remembered when the change comes
        pair[1]._prepare()
        pair[1].backprop_step(x, y)
    assert_same(*models, 0)


@pytest.mark.parametrize("option", ["lr_of_members", "betas", "active"])
def test_a_change_in_place_is_noticed(option):
    models = [mlp((3, 4, 2), 2) for _ in range(2)]
    pair = [torchbp.AdamW(model, lr=[0.1, 0.2], betas=([0.8, 0.9], 0.99)) for model in models]
    for optimizer in pair:
        optimizer.active = torch.tensor([True, True])
    for _ in range(3):
        x, y = rows(6)
        for optimizer in pair:
            optimizer.backprop_step(x, y)
        pair[1]._prepare()
        for optimizer in pair:
            group = optimizer.param_groups[0]
            tensor = {"active": optimizer.active, "betas": group["betas"][0]}.get(option, group["lr_of_members"])
            tensor[0] = tensor[0] * 0.5
    assert_same(*models, 0)


def test_betas_that_are_tensors_may_change_in_place():
    models = [mlp((3, 4, 2)) for _ in range(2)]
    pair = [torchbp.AdamW(model, lr=0.1, betas=(torch.tensor(0.8), torch.tensor(0.9))) for model in models]
    for _ in range(3):
        x, y = rows(6)
        for optimizer in pair:
            optimizer.backprop_step(x, y)
            optimizer.param_groups[0]["betas"][0].mul_(0.5)
        pair[1]._prepare()
    assert_same(*models, 0)


def test_options_of_layers_and_losses_are_read_in_each_step():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.LeakyReLU(0.1), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2)]
    models = [torch.nn.Sequential(*layers).double()]
    models.append(copy.deepcopy(models[0]))
    pair = [torchbp.SGD(model, lr=0.3, loss=torchbp.nn.BCEWithLogitsLoss()) for model in models]
    for number in range(5):
        x, y = rows(6)
        for model, optimizer in zip(models, pair, strict=True):
            if number == 1:
                model[1].negative_slope = 0.7
                optimizer.loss.pos_weight = torch.tensor([3.0, 0.5], dtype=torch.double)
            if number == 2:
                model.eval()
                optimizer.loss.reduction = "sum"
            if number == 4:
                optimizer.loss = torch.nn.MSELoss()
        pair[0].backprop_step(x, y)
        pair[1]._lean = LeanStep(pair[1])
        if models[0].training:
            models[1].load_state_dict(models[0].state_dict())  # the masks were others
        else:
            pair[1].backprop_step(x, y)
    assert_same(*models, 0)


@optimizers
@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("loss", [torchbp.nn.BCEWithLogitsLoss(), torch.nn.MSELoss(reduction="sum"), None], ids=str)
def test_several_steps_are_the_steps_one_by_one(make, members, loss):
    models = [mlp((3, 4, 2), members) for _ in range(2)]
    pair = [make(model) for model in models]
    if loss is None:  # one whose weight has a number for each member
        shape = (2,) if members is None else (members, 1, 2)
        loss = torchbp.nn.BCEWithLogitsLoss(weight=torch.rand(shape).double())
    for optimizer in pair:
        optimizer.loss = loss
    for shape in ((5, 6), (1, 6), (4, 2), (3, members or 6, 6)):
        x, y = rows(*shape)
        together = pair[0].backprop_steps(x, y)
        one_by_one = torch.stack([pair[1].backprop_step(*batch) for batch in zip(x, y, strict=True)])
        torch.testing.assert_close(together, one_by_one, rtol=1e-12, atol=1e-13)
    assert_same(*models)


@optimizers
def test_nothing_is_kept_for_each_batch_size_or_step(make):
    optimizer = make(mlp((3, 4, 2), dtype=torch.float32))
    counts = []
    for sizes in (range(1, 20), range(20, 80), range(80, 200)):
        for size in sizes:
            optimizer.backprop_step(*rows(size, dtype=torch.float32))
            optimizer.backprop_steps(*rows(2, size, dtype=torch.float32))
        gc.collect()
        counts.append(sum(1 for thing in gc.get_objects() if type(thing) is torch.Tensor))
    assert counts[2] <= counts[1]  # fewer: what other tests have left was freed meanwhile
    assert len(optimizer._lean.functions.functions) <= 4


def test_an_error_shows_the_line_of_the_step():
    optimizer = torchbp.SGD(mlp((3, 4, 2)))
    with pytest.raises(RuntimeError, match=r"x has the shape \(5, 4\), and the model takes 3 features") as raised:
        optimizer.backprop_step(*rows(5, features=4))
    of_torch = raised.value.__context__  # Python shows it, too
    files = [frame.filename for frame in traceback.extract_tb(of_torch.__traceback__)]
    (name,) = [file for file in files if file.startswith("<torchbp")]
    assert "z1 = forward_0(z0, p0_0, p0_1)" in "".join(linecache.getlines(name))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torchbp.SGD, {"lr": [0.3], "weight_decay": 0.1}),
        (torchbp.SGD, {"lr": 0.3, "momentum": [0.9], "nesterov": True}),
        (torchbp.AdamW, {"lr": 0.02}),
        (torchbp.AdamW, {"lr": [0.02], "betas": ([0.8], 0.99)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", ["sigmoid", "gelu"])
def test_one_member_runs_by_the_formulas_of_one_network(kind, options, activation):
    ensemble = torchbp.nn.MLP(3, 4, 2, activation=activation, members=1, dtype=torch.double)
    (net,) = torchbp.unstack(ensemble)
    alone = {name: value[0] if isinstance(value, list) else value for name, value in options.items()}
    if "betas" in options and isinstance(options["betas"][0], list):
        alone["betas"] = (0.8, 0.99)
    pair = kind(ensemble, **options), kind(net, **alone)
    assert pair[0]._lean.is_only_member
    for number in range(6):
        x, y = rows(5)
        of_each = number % 2
        losses = pair[0].backprop_step(x[None] if of_each else x, y[None] if number in (2, 3) else y)
        torch.testing.assert_close(losses, pair[1].backprop_step(x, y)[None], rtol=1e-12, atol=1e-13)
        if number == 3:
            for model in (ensemble, net):
                model[0].weight.data = model[0].weight.data * 0.5
        if number == 4:
            pair[0].active = torch.tensor([False])
            before = copy.deepcopy(ensemble)
            pair[0].backprop_step(x, y)
            assert_same(ensemble, before, 0)
            pair[0].active = torch.tensor([True])
    assert_same(ensemble, torchbp.stack([net]))
    for bad_x, bad_y in ((x[None].expand(2, -1, -1), y), (x, y[None].expand(2, -1, -1)), (x, y[:3])):
        with pytest.raises(ValueError, match="has the shape"):
            pair[0].backprop_step(bad_x, bad_y)


@pytest.mark.parametrize("leading", [(5,), (2, 3)])
def test_all_parameters_of_a_layer_at_once_are_those_one_by_one(leading):
    found = [rule for rule in rules_of(Layer).values() if rule.accumulate_all is not None]
    assert found
    for rule in found:
        dz, x = torch.randn(*leading, 4).double(), torch.randn(*leading, 3).double()
        ones = torch.ones(dz[..., 0].numel()).double()
        together = [torch.randn(4, 3).double(), torch.randn(4).double()]
        apart = [p.clone() for p in together]
        rule.accumulate_all(*together, dz, x, ones, -0.3)
        for p, parameter in zip(apart, rule.parameters, strict=True):
            parameter.accumulate(p, dz, ones if parameter.ones else x, 1, -0.3)
        torch.testing.assert_close(together, apart, rtol=1e-13, atol=1e-13)
