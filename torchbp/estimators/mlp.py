"""`MLPClassifier` and `MLPRegressor`: a few networks that are alike, with scikit-learn's interface."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from torchbp.estimators.base import EngineEstimator
from torchbp.estimators.classifier import EngineClassifier
from torchbp.estimators.regressor import EngineRegressor


class _Options(EngineEstimator):
    """The options of both."""

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (64, 64),
        activation: str = "silu",
        *,
        members: int = 8,
        dropout: float = 0.0,
        scaling: str = "auto",
        learning_rate_init: float = 4e-3,
        weight_decay: float = 0.01,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-3,
        n_iter_no_change: int = 8,
        validation_fraction: float = 0.15,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.members = members
        self.dropout = dropout
        self.scaling = scaling
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    @property
    def network_(self) -> torch.nn.Module:
        """The networks, as one ensemble."""
        return self._training.network

    def _more_of_fit(self, x, y, weight):
        """One more epoch on these rows."""
        if not self.__sklearn_is_fitted__():
            self._begin(x, y, weight)
            self.loss_curve_, self.validation_loss_curve_, self.n_iter_ = [], None, 0
        self.loss_curve_.append(self._training.epoch(x, self._target(y, weight)).mean().item())
        self.n_iter_ += 1
        return self


class MLPClassifier(EngineClassifier, _Options):
    """A classifier: the mean of a few networks, trained as one. The target is a class, or several labels.

        z = clipped((x − m)/s);    P = (1/E) Σ_e softmax(W2_e f(W1_e z + b1_e) + b2_e)        of one hidden layer

    Of two classes, or of labels, σ takes the place of softmax; the loss is their cross-entropy, in nats. Each member
    has validation rows of its own, which it does not train on, stops where its loss on them has not fallen for
    `n_iter_no_change` epochs, and is at the end as it was after its best epoch. With fewer than 50 rows there are none:
    all rows are one batch, for `max_iter` epochs.

    Args:
        hidden_layer_sizes: units of each hidden layer; () is logistic regression.
        activation: f, the name of a rule: "relu", "tanh", "silu", …
        members: E, how many networks.
        dropout: the probability of 0 behind each activation.
        scaling: of the features: "standard", by the mean m and the standard deviation s of the rows of `fit`;
            "clipped", z / √(1 + (z/4)²) of that, so that no row lies far from all others; "ranked", the same and the
            share of the rows of `fit` up to the value, as a second feature; "auto", ranked from 1000 rows on, otherwise
            clipped; "none".
        learning_rate_init, weight_decay: α and λ of `torchbp.AdamW`.
        batch_size: about so many rows of a step; "auto" is a power of 2, from 1/64 to 1/32 of them, within 16 and 256.
        max_iter: epochs at most.
        tol: by how much, at least, the loss has to fall.
        n_iter_no_change: epochs without that, after which a member stops.
        validation_fraction: of the rows, which each member is validated on. 0: each stops by its training loss.
        random_state: of the weights, the order of the rows, and which are validated on: an integer, or None.

    After `fit`: `classes_`, `n_features_in_`, `feature_names_in_` of a frame, `n_iter_`, how many epochs there were,
    `loss_curve_` and `validation_loss_curve_`, the mean losses of the members in each, and `network_`, the networks.

    Raises:
        ValueError: in `fit`, an option, rows or targets that do not fit; sparse rows are a TypeError of scikit-learn's.

    Example:
        >>> x = torch.randn(200, 3).numpy()
        >>> model = torchbp.estimators.MLPClassifier(random_state=0).fit(x, x[:, 0] > 0)
        >>> model.predict_proba(x).shape
        (200, 2)
    """

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """One more epoch of the same networks on these rows, all of them: there is no validation.

        Args:
            X, y, sample_weight: as for `fit`.
            classes: in the first call all classes that will come; None is those of y.

        Raises:
            ValueError: as `fit`, and for a class that is not among those of the first call.
        """
        first = not self.__sklearn_is_fitted__()
        x, y, weight = self._rows(X, y, sample_weight, reset=first)
        if first:
            self._set_target(y if classes is None or y.ndim == 2 else np.asarray(classes), weight)
        return self._more_of_fit(x, y, weight)


class MLPRegressor(EngineRegressor, _Options):
    """A regressor: the mean of a few networks, which the engine trains in one. The target is a number, or several.

        z = clipped((x − m)/s);    ŷ = m_y + s_y (1/E) Σ_e (W2_e f(W1_e z + b1_e) + b2_e)        of one hidden layer

    The loss is the squared error of the target in units of its standard deviation s_y. Args, attributes and errors are
    those of `MLPClassifier`, without `classes_`.

    Example:
        >>> x = torch.randn(200, 3).numpy()
        >>> model = torchbp.estimators.MLPRegressor(random_state=0).fit(x, 100 * x[:, 0])
        >>> model.score(x, 100 * x[:, 0]) > 0.9
        True
    """

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """One more epoch of the same networks on these rows, all of them: there is no validation. The first call scales
        the features and the target of all that follow.

        Args, raises: as for `fit`.
        """
        first = not self.__sklearn_is_fitted__()
        x, y, weight = self._rows(X, y, sample_weight, reset=first)
        if first:
            self._set_target(y, weight)
        return self._more_of_fit(x, y, weight)
