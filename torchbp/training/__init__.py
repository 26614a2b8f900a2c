"""Training on PyTorch Lightning: the module, the data, and the stopping rule."""

from torchbp.training.classifier import Classifier
from torchbp.training.data import TabularData
from torchbp.training.stopping import UntilMinimum

__all__ = ["Classifier", "TabularData", "UntilMinimum"]
