"""Training on PyTorch Lightning: the module, the data, and the stopping rule."""

import logging

# torchmetrics imports matplotlib, and its first import on a machine would announce itself among our lines
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "font cache" not in record.getMessage())

from torchbp.training.callbacks.stopping import UntilMinimum  # noqa: E402
from torchbp.training.data.tabular import TabularData  # noqa: E402
from torchbp.training.model.classifier import Classifier  # noqa: E402

__all__ = ["Classifier", "TabularData", "UntilMinimum"]
