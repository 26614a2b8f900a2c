"""`MLPClassifier` and `MLPRegressor`: networks that torchbp's engine trains, with scikit-learn's interface."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from torchbp import nn
from torchbp.estimators.base import MLPEstimator

MULTILABEL = "multilabel-indicator"


class MLPClassifier(ClassifierMixin, MLPEstimator):
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
            "clipped", z / √(1 + (z/4)²) of that, so that no row lies far from all others; "none".
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
        ValueError: in `fit`, an option, rows or targets that do not fit; sparse rows or blanks are a TypeError or
            ValueError of scikit-learn's.

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

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most likely class of each row, (N); of several labels (N, L), 1 for each that is more likely than not."""
        probabilities = self.predict_proba(X)
        if self._multilabel_dtype is not None:
            return (probabilities > 0.5).astype(self._multilabel_dtype)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each of the `classes_`, (N, K), the mean of the members'; of several labels that of
        each, (N, L)."""
        check_is_fitted(self)
        if self._multilabel_dtype is not None:
            return self._answers(X, torch.sigmoid)
        if self._outputs == 1:
            second = self._answers(X, torch.sigmoid)
            return np.concatenate([1 - second, second], 1)
        return self._answers(X, lambda z: z.softmax(-1))

    def _checked_target(self, y):
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == MULTILABEL:
            return y
        if kind == "multiclass-multioutput":
            raise ValueError("y has several columns of classes; give one column, or one of 0 and 1 for each label")
        return column_or_1d(y, warn=True)

    def _set_target(self, y, weight):
        self._multilabel_dtype = y.dtype if y.ndim == 2 else None
        self.classes_ = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
        self._outputs = 1 if y.ndim == 1 and len(self.classes_) == 2 else len(self.classes_)

    def _engine_target(self, y):
        if self._multilabel_dtype is not None:
            return torch.from_numpy(y.astype(np.float64)), nn.BCEWithLogitsLoss()
        places = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if unknown := y[self.classes_[places] != y].tolist():
            raise ValueError(f"y has the class {unknown[0]!r}, which is not one of {self.classes_.tolist()}")
        if self._outputs == 1:
            return torch.from_numpy(places.astype(np.float64)).unsqueeze(1), nn.BCEWithLogitsLoss()
        return torch.from_numpy(places), nn.CrossEntropyLoss()

    def _classes_of_rows(self, y):
        return None if y.ndim == 2 else np.searchsorted(self.classes_, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, MLPEstimator):
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

    _numeric_target = True

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

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The mean of the members' numbers, (N), or (N, T) of several targets."""
        answers = self._answers(X, lambda z: z) * self._scale + self._mean
        return answers.reshape(len(answers), *self._target_shape)

    def _checked_target(self, y):
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return y.astype(np.float64)

    def _set_target(self, y, weight):
        self._target_shape = y.shape[1:]
        self._outputs = 1 if y.ndim == 1 else y.shape[1]
        self._mean = np.average(y, axis=0, weights=weight)
        deviation = np.sqrt(np.average((y - self._mean) ** 2, axis=0, weights=weight))
        self._scale = np.where(deviation > 0, deviation, 1.0)

    def _engine_target(self, y):
        y = (y - self._mean) / self._scale
        return torch.from_numpy(y.reshape(len(y), self._outputs)), nn.MSELoss()

    def _classes_of_rows(self, y):
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
