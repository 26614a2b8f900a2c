"""`PackClassifier` and `PackRegressor`: networks that differ, and the choice of those that answer best together."""

import warnings
from typing import Any

import numpy as np
import torch

from torchbp.estimators.base import EngineEstimator
from torchbp.estimators.classifier import EngineClassifier
from torchbp.estimators.pack_training import PackTraining
from torchbp.estimators.regressor import EngineRegressor


class _Options(EngineEstimator):
    """The options of both."""

    _training_class = PackTraining

    def __init__(
        self,
        *,
        members: int = 12,
        folds: int = 4,
        validation_fraction: float = 0.125,
        activation: str = "silu",
        scaling: str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-3,
        n_iter_no_change: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.members = members
        self.folds = folds
        self.validation_fraction = validation_fraction
        self.activation = activation
        self.scaling = scaling
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state

    def _choose(self, x, y, weight):
        target, _ = self._engine_target(y)
        self._training.choose(x, target, self._losses_of, self._answers_of, weight)
        if self._training.diverged.any():
            warnings.warn(f"{self._training.said_of_diverged()}; they have no share", stacklevel=3)  # of `fit`'s caller

    @property
    def configurations_(self) -> list[Any]:
        """Each configuration: what was drawn, its loss, and its share."""
        return self._training.configurations

    @property
    def networks_(self) -> list[list[torch.nn.Module]]:
        """The networks of each configuration that has a share."""
        return self._training.networks


class PackClassifier(EngineClassifier, _Options):
    """A classifier that chooses its networks itself: the mean of the best of many that differ.

        P = Σ_c share_c (1/K) Σ_k P_ck        of the configurations c, each with K networks

    A configuration is drawn: two, three or one hidden layer of 128 units; a learning rate of AdamW from 0.004 to 0.02
    and a decay from 0.0001 to 0.3, their logarithms uniform; dropout of 0, 0.1, 0.2 or 0.3. Where features have ranks,
    there is a `torchbp.nn.PeriodicEmbedding` of them, with a frequency from 0.3 to 2. Each of its K networks leaves out
    other rows, its fold. They stop together, where the mean of their losses on their folds no longer falls, with the
    weights that `torchbp/estimators/fold_training.py` says. The shares are found by the answers to the rows that a
    network did not train on, as `torchbp/estimators/pack_training.py` says. With fewer than 50 rows nothing is left
    out, and all have the same share.

    Args:
        members: how many networks, `folds` at least: there are `members // folds` configurations.
        folds: K.
        validation_fraction: of the rows, which are in each fold; `folds` of them are all rows at most.
        n_iter_no_change: epochs without a fall of `tol` in that mean, after which a configuration stops.
        batch_size: about so many rows of a step; "auto" is a power of 2, from 1/32 to 1/16 of them, within 16 and 256.
        activation, scaling, max_iter, tol, random_state: as of `MLPClassifier`.

    After `fit`: `configurations_`, what was drawn, with the loss and the share of each, `networks_`, the networks of
    those that have a share, and `classes_`, `n_iter_`, `loss_curve_`, `validation_loss_curve_` as of `MLPClassifier`.

    Raises:
        ValueError: as `MLPClassifier`.

    Example:
        >>> x = torch.randn(200, 3).numpy()
        >>> pack = torchbp.estimators.PackClassifier(members=8, max_iter=20, random_state=0).fit(x, x[:, 0] > 0)
        >>> pack.predict_proba(x).shape
        (200, 2)
    """


class PackRegressor(EngineRegressor, _Options):
    """A regressor that chooses its networks itself: `PackClassifier`, for a number or several.

    Example:
        >>> x = torch.randn(200, 3).numpy()
        >>> pack = torchbp.estimators.PackRegressor(members=8, max_iter=20, random_state=0).fit(x, x[:, 0])
        >>> sum(of_one.share for of_one in pack.configurations_)  # the shares together = 1.0
    """
