"""BackPACK's extensions on a converted network. It is no requirement of the tests: it requires torchvision, which its
extensions do not use, and which cannot be imported beside a torch for CPUs.

    .venv/bin/pip install --no-deps backpack-for-pytorch==1.7.1 einops==0.8.2 unfoldNd==0.2.3
    .venv/bin/python -m tests.libraries.backpack_program
"""

import torch
from backpack import backpack, extend
from backpack.extensions import BatchGrad, DiagGGNExact, SumGradSquared
from torch import nn

import torchbp
from tests.libraries.networks import NETWORKS, both


def extensions(network, criterion, x):
    network, criterion = extend(network), extend(criterion)
    loss = criterion(network(x), torch.arange(len(x)) % 3)
    with backpack(BatchGrad(), SumGradSquared(), DiagGGNExact()):
        loss.backward()
    return [(p.grad_batch, p.sum_grad_squared, p.diag_ggn_exact) for p in network.parameters()]


def main():
    for name in NETWORKS:
        torch.manual_seed(0)
        torchs, ours, x = both(name)
        expected = extensions(torchs, nn.CrossEntropyLoss(), x)
        found = extensions(ours, torchbp.convert(nn.CrossEntropyLoss()), x)
        torch.testing.assert_close(found, expected)
        assert all(of_samples.any() for of_samples, *_ in found)
        print(f"{name}: the same gradients of samples, squares and curvatures of {len(found)} parameters")


if __name__ == "__main__":
    main()
