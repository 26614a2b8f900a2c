"""Every module that torch has too, converted, where torch's own works: an output that is written into, a default
device, autocast, torch.export, nested tensors."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import torchbp
from tests.cases import with_gradients
from tests.graphs import ours_of
from tests.inputs.modules import made
from tests.inputs.operation import draw

NAMES = [name for name in torchbp.nn.__all__ if hasattr(nn, name)]


def pair(name):
    """torch's module, the same converted, and inputs in float32."""
    torch.manual_seed(0)
    module, rows = made(name)
    torchs = torchbp.revert(module)
    assert type(torchs) is getattr(nn, name)
    drawn = [draw(*row) for row in rows]
    inputs = with_gradients([t.float() if t.is_floating_point() else t for t in drawn])
    return torchs, torchbp.convert(copy.deepcopy(torchs)), inputs


def called(module, inputs):
    """The output; of attention the first of two."""
    torch.manual_seed(1)  # of dropout
    output = module(*inputs)
    return output[0] if isinstance(output, tuple) else output


def outcome(compute):
    """What it gives, or the class of its error."""
    try:
        return compute()
    except Exception as error:
        return type(error)


def gradients_of(output, module, inputs):
    leaves = [t for t in (*inputs, *module.parameters()) if t.requires_grad]
    found = torch.autograd.grad(output.square().sum(), leaves, allow_unused=True)
    return [output.detach(), *found]


def zero_the_first(z):
    z[..., :1] = 0
    return z


WRITES = {
    "relu_": torch.relu_,
    "+=": lambda z: z.add_(torch.arange(z.shape[-1]) if z.dim() else 1),
    "z[..., 0] = 0": zero_the_first,
    "dropout": lambda z: nn.functional.dropout(z, 0.3, inplace=True),
}


@pytest.mark.parametrize("more", [False, True], ids=["", "a dimension more"])
@pytest.mark.parametrize("name", NAMES)
def test_an_output_may_be_written_into_where_torchs_may(name, more):
    torchs, ours, inputs = pair(name)
    if more:
        inputs = [t.detach().unsqueeze(0).requires_grad_(t.requires_grad) for t in inputs]
    for write in WRITES.values():
        expected, found = (
            outcome(lambda m=m, write=write: gradients_of(write(called(m, inputs)), m, inputs)) for m in (torchs, ours)
        )
        if isinstance(expected, list):
            assert isinstance(found, list), found
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Flatten"])  # a view, which is torch's
def test_our_formulas_run_under_a_default_device(name):
    _, ours, inputs = pair(name)
    assert ours_of(called(ours, inputs))
    with torch.device("cpu"):
        assert ours_of(called(ours, inputs))
    torch.set_default_device("cpu")
    try:
        assert ours_of(called(ours, inputs))
    finally:
        torch.set_default_device(None)


def saved_bytes(module, inputs, calls):
    """The memory that so many calls in one autocast context keep for the backward, the parameters' aside."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        outputs = [called(module, inputs) for _ in range(calls)]
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert len(outputs) == calls
    return sum(kept.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_runs_often_under_autocast_has_one_cast_weight(name):
    torchs, ours, inputs = pair(name)
    big = [p for p in torchs.parameters() if p.dim() > 1]
    if not big:
        return
    growth = [saved_bytes(m, inputs, 20) - saved_bytes(m, inputs, 10) for m in (torchs, ours)]
    assert growth[1] <= growth[0], growth


class All(nn.Module):
    def __init__(self, modules):
        super().__init__()
        self.modules_ = nn.ModuleList(modules)

    def forward(self, inputs):
        outputs = [module(*of) for module, of in zip(self.modules_, inputs, strict=True)]
        return [out[0] if isinstance(out, tuple) else out for out in outputs]


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_all_can_be_trained_when_exported(strict):
    names = [name for name in NAMES if not name.startswith(("Dropout", "BatchNorm"))]  # which draw, and which count
    pairs = [pair(name) for name in names]
    program = torch.export.export(
        All([ours for _, ours, _ in pairs]), ([inputs for *_, inputs in pairs],), strict=strict
    )
    outputs = program.module()([inputs for *_, inputs in pairs])
    for name, output, (torchs, _, inputs) in zip(names, outputs, pairs, strict=True):
        assert output.requires_grad, name
        wanted = [t for t in inputs if t.requires_grad] or list(torchs.parameters())
        expected = called(torchs, inputs)
        torch.testing.assert_close(output, expected, msg=lambda m, name=name: f"{name}: {m}")
        if inputs[0].requires_grad:
            gradients = [torch.autograd.grad(z.square().sum(), wanted[:1]) for z in (output, expected)]
            torch.testing.assert_close(*gradients, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", NAMES)
def test_strided_nested_tensors_do_what_they_do_in_torch(name):
    """They are torch's alone; and what torch refuses is refused as it refuses."""
    torchs, ours, inputs = pair(name)
    results = []
    for module in (torchs, ours):
        nested = [torch.nested.nested_tensor([t.detach(), t.detach()], requires_grad=t.requires_grad) for t in inputs]
        results.append(outcome(lambda module=module, nested=nested: unbound(called(module, nested), nested)))
    assert type(results[1]) is type(results[0]), results
    if isinstance(results[0], list):
        torch.testing.assert_close(results[1], results[0])
    else:
        assert issubclass(results[0], results[1])


def unbound(output, inputs):
    """The output and the gradient of the first input, as single tensors."""
    parts = list(output.unbind()) if output.is_nested else [output]
    sum(part.sum() for part in parts).backward()
    return (
        [part.detach() for part in parts]
        + [t.grad for t in inputs if t.requires_grad and not t.grad.is_nested]
        + [part for t in inputs if t.requires_grad and t.grad.is_nested for part in t.grad.unbind()]
    )
