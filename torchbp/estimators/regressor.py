"""The part of a regressor that is about its target: a number, or several."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d

from torchbp import nn
from torchbp.estimators.base import EngineEstimator
from torchbp.scaling import SMALLEST, mean_and_deviation


class EngineRegressor(RegressorMixin, EngineEstimator):
    _numeric_target = True

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The mean of the members' numbers, (N), or (N, T) of several targets."""
        answers = self._answers(X) * self._deviation + self._mean  # a constant exactly
        return answers.reshape(len(answers), *self._target_shape)

    def _answers_of(self, z):
        return z

    def _losses_of(self, answers, y, doubt=0.0):
        return (answers - y).square().mean(-1)

    def _checked_target(self, y):
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return y.astype(np.float64)

    def _set_target(self, y, weight):
        self._target_shape = y.shape[1:]
        self._outputs = 1 if y.ndim == 1 else y.shape[1]
        weight = torch.ones(len(y), dtype=torch.double) if weight is None else torch.from_numpy(weight)
        of_columns = [mean_and_deviation(column, weight) for column in torch.from_numpy(y.reshape(len(y), -1)).T]
        self._mean, deviation = (np.reshape(numbers, self._target_shape) for numbers in zip(*of_columns, strict=True))
        self._deviation = np.where(deviation > SMALLEST * np.abs(y).max(0), deviation, 0.0)
        self._scale = np.where(self._deviation > 0, self._deviation, 1.0)

    def _engine_target(self, y):
        y = (y - self._mean) / self._scale
        return torch.from_numpy(y.reshape(len(y), self._outputs)), nn.MSELoss()

    def _classes_of_rows(self, y):
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
