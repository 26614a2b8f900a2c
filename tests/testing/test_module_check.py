"""What stays in a module from call to call, and is lost on the way to another: the check `module`."""

import pytest
import torch
from torch import nn

import torchbp
from tests.testing.corpus.entry import draw


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.setup()

    def setup(self):
        pass

    def forward(self, x):
        return self.linear(x)


class ScaleOfFirstBatch(Base):
    scale = None

    def forward(self, x):
        if self.scale is None:
            self.scale = float(x.detach().abs().max())
        return self.linear(x) / self.scale


class BufferMadeInForward(Base):
    def forward(self, x):
        if not hasattr(self, "shift"):
            self.register_buffer("shift", x.new_ones(2))
        return self.linear(x) + self.shift


class ListOfTensors(Base):
    def setup(self):
        self.scales = [torch.tensor([0.5, 2.0])]

    def forward(self, x):
        return self.linear(x) * self.scales[0]


class MergesTwice(Base):
    """Weights that are added to the layer's in evaluation, each time that eval() is called."""

    def setup(self):
        self.more = nn.Parameter(torch.full((2, 3), 0.5))

    def train(self, mode=True):
        if not mode:
            self.linear.weight.data += self.more.data
        return super().train(mode)

    def forward(self, x):
        return self.linear(x) + (x @ self.more.t() if self.training else 0 * self.more.sum())


class ForwardChangesMode(Base):
    def setup(self):
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        self.dropout.eval()
        return self.dropout(self.linear(x))


class HookOfTheOriginal(Base):
    """A hook that closes over the module itself: a copy calls the original's."""

    def setup(self):
        self.factor = 2.0
        original = self
        self.register_forward_hook(lambda module, inputs, out: out * 2 if module is original else out)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (ScaleOfFirstBatch, "has loaded the state_dict"),
        (BufferMadeInForward, "load_state_dict(state_dict()) raises"),
        (ListOfTensors, "use register_buffer"),
        (MergesTwice, "after "),
        (ForwardChangesMode, "changes .training of dropout"),
        (HookOfTheOriginal, "out of a deepcopy differs from that of the module itself"),
    ],
)
def test_what_is_lost_is_found(module, words):
    report = torchbp.check(module(), draw(4, 3), checks="module", raise_exception=False)
    assert report["module"].status == "FAIL", str(report)
    assert words in report["module"].message


LAYERS = {
    "plain": Base,
    "batch_norm": lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
    "batch_norm_momentum": lambda: nn.BatchNorm1d(3, momentum=None),
    "dropout": lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3)),
    "layer_norm": lambda: nn.LayerNorm(3),
    "gru_cell": lambda: nn.GRUCell(3, 2),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)),
    "alpha_dropout": lambda: nn.AlphaDropout(0.2),
    "prelu": nn.PReLU,
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layers_lose_nothing(name, training):
    torch.manual_seed(0)
    report = torchbp.check(LAYERS[name]().train(training), draw(4, 3), checks="module", raise_exception=False)
    assert not report.failed, str(report)
