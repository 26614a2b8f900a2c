"""`PackClassifier` and `PackRegressor`: networks that differ, and the choice of those that answer best together."""

from functools import partial
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
        members: int = 32,
        folds: int = 8,
        activation: str = "silu",
        scaling: str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-3,
        n_iter_no_change: int = 12,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.members = members
        self.folds = folds
        self.activation = activation
        self.scaling = scaling
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state

    def _choose(self, x, y, weight):
        target, _ = self._engine_target(y)
        self._training.choose(x, partial(self._losses_of, y=target), self._answers_of, weight)

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

        P = Σ_c share_c (1/K) Σ_k P_ck        of the configurations c, each trained without each of the K folds

    A configuration is drawn: two, three or one hidden layer of 128 units; a learning rate of AdamW from 0.003 to 0.015
    and a decay from 0.0001 to 0.3, their logarithms uniform; dropout of 0, 0.1, 0.2 or 0.3. Where features have ranks,
    there is a `torchbp.nn.PeriodicEmbedding` of them, with a frequency from 0.3 to 2. Each of its networks stops where
    the loss on its fold no longer falls, and is put back to its best epoch. The shares are found by the
    answers to the rows that a network did not train on, as `torchbp/estimators/pack_training.py` says: so all rows are
    trained on, and all choose. With fewer than 50 rows nothing is left out, and all have the same share.

    Args:
        members: how many networks: `members // folds` configurations.
        folds: K.
        activation, scaling, batch_size, max_iter, tol, n_iter_no_change, random_state: as of `MLPClassifier`.

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
