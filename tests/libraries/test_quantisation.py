"""torch.ao's eager quantisation replaces modules of the classes that it knows. (pt2e_program.py: of graphs.)"""

import pytest
import torch
from torch import nn
from torch.ao import quantization

import torchbp
from tests.libraries.networks import NETWORKS, both

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, .* are deprecated"),
    pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_dynamic(name):
    torchs, ours, x = both(name)
    expected, found = (
        quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8) for network in (torchs, ours)
    )
    assert [type(module) for module in found] == [type(module) for module in expected]
    torch.testing.assert_close(found(x), expected(x))
    assert "DynamicQuantizedLinear" in str(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_static(name):
    torchs, ours, x = both(name)
    expected, found = (_static(network, x) for network in (torchs, ours))
    assert [type(module) for module in found] == [type(module) for module in expected]
    torch.testing.assert_close(found(x), expected(x))


def _static(network, x):
    network = nn.Sequential(quantization.QuantStub(), *network, quantization.DeQuantStub()).eval()
    network.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(network)
    prepared(x)
    return quantization.convert(prepared)


def test_fused_layers_are_computed_by_torch():
    """`fuse_modules` makes one module of a convolution, a norm and an activation."""
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(3, 2, 8, 8)
    expected = network(x)
    fused = quantization.fuse_modules(torchbp.convert(network), [["0", "1", "2"]])
    torch.testing.assert_close(fused(x), expected)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sigmoid(), nn.Hardsigmoid(), nn.MaxPool2d(2), nn.AvgPool2d(2)])
def test_a_module_that_stays_takes_quantised_tensors(module):
    x = torch.quantize_per_tensor(torch.randn(2, 4, 8, 8), 0.1, 64, torch.quint8)
    expected = module(x)
    torch.testing.assert_close(torchbp.convert(module)(x), expected)
