"""Training on PyTorch Lightning: the module, the data, and the stopping rule."""

import logging
from typing import TYPE_CHECKING

from torchbp._imports import lazy

if TYPE_CHECKING:
    from torchbp.training.callbacks.stopping import UntilMinimum
    from torchbp.training.data.tabular import TabularData
    from torchbp.training.model.network import Network
    from torchbp.training.model.pack_network import PackNetwork

__all__ = ["Network", "PackNetwork", "TabularData", "UntilMinimum"]

# Lightning's torchmetrics imports matplotlib, whose first import on a machine prints a line
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "font cache" not in record.getMessage())

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        __all__,
        {
            "Network": "torchbp.training.model.network",
            "PackNetwork": "torchbp.training.model.pack_network",
            "TabularData": "torchbp.training.data.tabular",
            "UntilMinimum": "torchbp.training.callbacks.stopping",
        },
        extra="train",
    )
