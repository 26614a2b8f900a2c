"""Networks with scikit-learn's interface, trained by the engine: `MLPClassifier` and `MLPRegressor`."""

from typing import TYPE_CHECKING

from torchbp._imports import lazy

if TYPE_CHECKING:
    from torchbp.estimators.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, __all__, dict.fromkeys(__all__, "torchbp.estimators.mlp"), extra="train")
