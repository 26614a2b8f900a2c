"""Networks with scikit-learn's interface, trained by the engine: `MLPClassifier`, `MLPRegressor`, and packs of them."""

from typing import TYPE_CHECKING

from torchbp._imports import lazy

if TYPE_CHECKING:
    from torchbp.estimators.mlp import MLPClassifier, MLPRegressor
    from torchbp.estimators.pack import PackClassifier, PackRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "PackClassifier", "PackRegressor"]

if not TYPE_CHECKING:
    defined_in = {name: f"torchbp.estimators.{'mlp' if name.startswith('MLP') else 'pack'}" for name in __all__}
    __getattr__, __dir__ = lazy(__name__, __all__, defined_in, extra="train")
