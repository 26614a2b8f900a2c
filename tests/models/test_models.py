"""Whole networks, converted and not: the same training, by our formulas."""

import copy
import functools
import pickle

import pytest
import torch
from torch import nn

import torchbp
from torchbp.benchmarks.helpers.models import SIZES, task

OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
}


def made(name, converted, dtype=torch.float32):
    """The task of the small size, the same each time."""
    torch.manual_seed(0)
    small = task(name, "small").to(dtype=dtype)
    return small.converted() if converted else small


@functools.cache
def ten_steps(name, converted, optimizer, dtype):
    """The losses of ten steps, and then the parameters and buffers."""
    small = made(name, converted, dtype)
    optimizer = OPTIMIZERS[optimizer](small.network.parameters())
    torch.manual_seed(1)  # of dropout
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = small.loss()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses), small.network.state_dict()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SIZES)
def test_ten_steps_are_the_same(name, optimizer):
    """In float64, where ten steps make of a rounding nothing that could hide a fault."""
    torchs, ours = (ten_steps(name, converted, optimizer, torch.float64) for converted in (False, True))
    in_float32 = name in ("GPT-2", "Llama")  # their loss casts the logits to it, and Llama's norms their input
    rounding = 2e-6 if optimizer == "SGD" else 1e-5  # AdamW divides a gradient that is nothing but rounding by its size
    rtol, atol = (rounding, rounding) if in_float32 else (1e-8, 1e-9)
    torch.testing.assert_close(ours, torchs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SIZES)
def test_ten_steps_in_float32_are_as_near_to_those_in_float64_as_torchs(name, optimizer):
    """Ten steps multiply roundings, of some networks by 10⁵; AdamW divides a gradient that is nothing but rounding, as
    of a bias before a norm, by its own size. So torch's own error is the measure."""
    exact = flat(ten_steps(name, False, optimizer, torch.float64))
    torchs, ours = (flat(ten_steps(name, converted, optimizer, torch.float32)) - exact for converted in (False, True))
    assert ours.norm() < 4 * torchs.norm() + 1e-6 * exact.norm()


def flat(steps):
    losses, state = steps
    return torch.cat([t.double().flatten() for t in (losses, *state.values())])


class Step(nn.Module):
    """The loss of a task as a module."""

    def __init__(self, small):
        super().__init__()
        self.network, self.small = small.network, small

    def forward(self):
        return self.small.loss()


@pytest.mark.parametrize("name", SIZES)
def test_our_formulas_give_the_parameters_their_gradients(name):
    """All but those that enter by a sum or a product of elements: class tokens, positions, scales that a model writes
    out. These are less than 1 % of the numbers."""
    small = made(name, converted=True)
    ours, torchs = (torchbp.coverage(Step(of)) for of in (small, made(name, converted=False)))
    assert {node for nodes in ours.by_torch.values() for node in nodes} <= {
        "AddBackward0",
        "MulBackward0",
        "ExpandBackward0",
    }
    assert ours.share_of_parameters >= 0.99, ours
    assert ours.share_of_flops == 1
    assert torchs.share_of_parameters == torchs.share_of_flops == 0
    assert sum(ours.parameters.values()) == sum(p.numel() for p in small.network.parameters())


@pytest.mark.parametrize("name", ["ViT", "BERT", "GPT-2", "MLP-Mixer", "FT-Transformer"])
def test_dropout_has_the_same_masks(name):
    found = []
    for converted in (False, True):
        small, masks = made(name, converted), []
        for module in small.network.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(lambda module, inputs, out, masks=masks: masks.append(out == 0))
        torch.manual_seed(1)
        small.loss()
        found.append((masks, torch.get_rng_state()))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert any(mask.any() for mask in found[0][0])


@pytest.mark.parametrize("name", ["GPT-2", "Llama"])
def test_generation_gives_the_same_tokens(name):
    """With the keys and values of earlier tokens kept, which have another length than the queries."""
    found = []
    for converted in (False, True):
        small = made(name, converted)
        found.append(
            small.network.eval().generate(
                small.batch["input_ids"][:, :4], max_new_tokens=10, min_new_tokens=10, do_sample=False, pad_token_id=0
            )
        )
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert found[0].shape == (3, 14)


def gradients(small):
    torch.manual_seed(1)
    small.network.zero_grad()
    loss = small.loss()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in small.network.named_parameters()}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_is_converted_too(copied):
    small = made("GPT-2", converted=True)
    expected = gradients(small)
    small.network = copied(small.network)
    torch.testing.assert_close(gradients(small), expected)
    assert "network.transformer.h.0.attn.c_attn.weight" not in torchbp.coverage(Step(small)).by_torch


def test_the_state_is_that_of_the_unconverted():
    torchs, ours = (made("BERT", converted) for converted in (False, True))
    assert list(ours.network.state_dict()) == list(torchs.network.state_dict())
    with torch.no_grad():
        for p in ours.network.parameters():
            p.zero_()
    ours.network.load_state_dict(torchs.network.state_dict())
    torch.testing.assert_close(gradients(ours), gradients(torchs))


def test_checkpointed():
    """What is computed again in the backward pass is computed by the same operations, with the same masks."""
    expected = gradients(made("Llama", converted=False))
    small = made("Llama", converted=True)
    small.network.activation_checkpointing_enable()
    found = gradients(small)
    torch.testing.assert_close(found, expected)


def test_under_autocast():
    """The error of our gradients in bfloat16, beside that of torch's: both round at the same places."""
    exact = gradients(made("ViT", converted=False))
    with torch.autocast("cpu", torch.bfloat16):
        torchs, ours = (gradients(made("ViT", converted)) for converted in (False, True))
    assert error(ours, exact) < 1.5 * error(torchs, exact)


def error(found, exact):
    """The norm of the difference of all gradients."""
    return torch.cat([(found[1][name] - g).flatten() for name, g in exact[1].items()]).norm()


@pytest.mark.compiler
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled():
    small = made("MLP-Mixer", converted=True)  # networks of Hugging Face take 10 s to trace, and are as well
    small.network.eval()  # a compiled program draws its own masks
    expected = gradients(small)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    small.network = torch.compile(small.network, backend=backend, fullgraph=True)
    found = gradients(small)[1]
    torch.testing.assert_close({name.removeprefix("_orig_mod."): g for name, g in found.items()}, expected[1])
    assert graphs[0].code.count("autograd_function_apply(") > 10
