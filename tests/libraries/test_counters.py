"""thop and ptflops count the operations of the classes that they know."""

import pytest

from tests.libraries.networks import NETWORKS, both


@pytest.mark.parametrize("name", NETWORKS)
def test_thop(name):
    thop = pytest.importorskip("thop")
    torchs, ours, x = both(name)
    expected = thop.profile(torchs, (x,), verbose=False)
    assert thop.profile(ours, (x,), verbose=False) == expected
    assert min(expected) > 0


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
@pytest.mark.parametrize("name", NETWORKS)
def test_ptflops(name, backend):
    """Of modules. It also counts calls of `F.relu`, and so torch's ReLU twice: its hook, and the call inside."""
    ptflops = pytest.importorskip("ptflops")
    torchs, ours, x = both(name)
    expected, found = (
        ptflops.get_model_complexity_info(
            network,
            tuple(x.shape[1:]),
            as_strings=False,
            print_per_layer_stat=False,
            backend=backend,
            backend_specific_config={"count_functional": False},
        )
        for network in (torchs, ours)
    )
    assert found == expected
    assert min(expected) > 0
