"""captum replaces the gradient of each activation by a hook on modules of the classes that it knows."""

import pytest
import torch

from tests.libraries.networks import NETWORKS, both

captum = pytest.importorskip("captum.attr")

pytestmark = [
    # what captum says of each call
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
    pytest.mark.filterwarnings(r"ignore:Setting (forward, )?backward hooks"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_lift_explains_the_whole_difference(name):
    torchs, ours, x = both(name)
    expected = captum.DeepLift(torchs).attribute(x, torch.zeros_like(x), target=1)
    found, delta = captum.DeepLift(ours).attribute(x, torch.zeros_like(x), target=1, return_convergence_delta=True)
    torch.testing.assert_close(found, expected)
    assert delta.abs().max() < 1e-5


@pytest.mark.parametrize("method", ["GuidedBackprop", "IntegratedGradients"])
@pytest.mark.parametrize("name", NETWORKS)
def test_other_attributions_are_the_same(name, method):
    torchs, ours, x = both(name)
    expected, found = (getattr(captum, method)(network).attribute(x, target=1) for network in (torchs, ours))
    torch.testing.assert_close(found, expected)
    assert expected.any()
