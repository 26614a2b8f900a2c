"""The part of a classifier that is about its target: classes, or several labels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from torchbp import nn
from torchbp.estimators.base import EngineEstimator

MULTILABEL = "multilabel-indicator"
SMALLEST = 1e-12  # probability of which a logarithm is taken


class EngineClassifier(ClassifierMixin, EngineEstimator):
    def predict(self, X: ArrayLike) -> np.ndarray:
        """The most likely class of each row, (N); of several labels (N, L), 1 for each that is more likely than not."""
        probabilities = self.predict_proba(X)
        if self._multilabel_dtype is not None:
            return (probabilities > 0.5).astype(self._multilabel_dtype)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each of the `classes_`, (N, K), the mean of the members'; of several labels that of
        each, (N, L)."""
        answers = self._answers(X)
        if self._multilabel_dtype is not None:
            return answers
        return np.concatenate([1 - answers, answers], 1) if self._is_binary() else answers

    def _is_binary(self):
        return self._multilabel_dtype is None and len(self.classes_) == 2

    def _answers_of(self, z):
        of_labels = self._is_binary() or self._multilabel_dtype is not None
        return z.sigmoid() if of_labels else z.softmax(-1)

    def _losses_of(self, answers, y, doubt=0.0):
        answers = answers.clamp(SMALLEST, 1 - SMALLEST)
        if y.dim() == 1:
            losses = -answers.log()
            of_y = losses.gather(-1, y.expand(answers.shape[:-1]).unsqueeze(-1)).squeeze(-1)
            return (1 - doubt) * of_y + doubt * losses.mean(-1)
        share = y * (1 - doubt) + doubt / 2
        return -(share * answers.log() + (1 - share) * (1 - answers).log()).mean(-1)

    def _checked_target(self, y):
        check_sortable(y)
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
        self._outputs = 1 if self._is_binary() else len(self.classes_)

    def _engine_target(self, y):
        if self._multilabel_dtype is not None:
            return torch.from_numpy(y.astype(np.float64)), nn.BCEWithLogitsLoss()
        places = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if unknown := y[self.classes_[places] != y].tolist():
            raise ValueError(f"y has the class {unknown[0]!r}, which is not one of {self.classes_.tolist()}")
        if self._is_binary():
            return torch.from_numpy(places.astype(np.float64)).unsqueeze(1), nn.BCEWithLogitsLoss()
        return torch.from_numpy(places), nn.CrossEntropyLoss()

    def _classes_of_rows(self, y):
        return None if y.ndim == 2 else np.searchsorted(self.classes_, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def check_sortable(y):
    """Raises a ValueError for classes that cannot be compared, such as a blank and a text."""
    try:
        np.unique(y)
    except TypeError:
        if blanks := [place for place, value in enumerate(y.flat) if value is None]:
            raise ValueError(f"y[{blanks[0]}] is None; leave out the rows without a class") from None
        kinds = ", ".join(sorted({type(value).__name__ for value in y.flat}))
        raise ValueError(f"y has classes of several types, {kinds}; give all of them as texts") from None
