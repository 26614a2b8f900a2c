"""What all estimators have in common: rows and weights as scikit-learn takes them, and a training by the engine."""

import contextlib
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state, check_X_y
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from torchbp.engine import RowWeighted, with_weight
from torchbp.estimators.columns import Columns, is_frame
from torchbp.estimators.training import Training

LEAST_WEIGHT = 1e-30  # of the largest one


class EngineEstimator(BaseEstimator):
    """A subclass says what the target is to the engine, and what the outputs are to people.

    `_training_class` is `Training`, or another of its kind. `_checked_target(y)` is y as an array.
    `_set_target(y, weight)` keeps what must be known of all targets, and `_outputs`, how many outputs a network has.
    `_engine_target(y)` is y as a tensor, and its loss. `_classes_of_rows(y)` has a class for each row, whose shares are
    to be alike in the training and the validation rows; or it is None. `_answers_of(z)` makes answers (…, N, outputs)
    of the outputs z, and `_losses_of(answers, y, doubt)` is the loss of each row, (…, N), by y as the engine takes it;
    doubt is the chance that a row has any class instead of its own.
    """

    _numeric_target = False
    _training_class = Training

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train new networks.

        Args:
            X: (N, F), an array of numbers; or a frame, whose texts and categories become columns of zeros and ones,
                and whose dates become seconds, as `torchbp/estimators/columns.py` says. nan is a missing value.
            y: (N) the target of each row; (N, K) of several labels, 0 or 1, or of several numbers.
            sample_weight: (N), how much each row counts: the loss is Σ w ℓ / Σ w. A row of weight 0 is left out.

        Raises:
            ValueError: rows, targets, weights or options that do not fit.
            FloatingPointError: a loss that became nan or inf in all members.
        """
        x, y, weight = self._rows(X, y, sample_weight, reset=True)
        self._set_target(y, weight)
        self._begin(x, y, weight)
        losses, of_validation = self._training.fit(x, self._target(y, weight), self._classes_of_rows(y))
        self.loss_curve_ = losses.mean(1).tolist()
        self.validation_loss_curve_ = None if of_validation is None else of_validation.mean(1).tolist()
        self.n_iter_ = len(losses)
        self._choose(x, y, weight)
        return self

    def _choose(self, x, y, weight):
        """Choose among the networks, once they are trained."""

    def _rows(self, X, y, sample_weight, reset):
        """x (N, F), y, and the weights (N) or None, float64, without the rows of weight 0."""
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        of_target = {"multi_output": True, "y_numeric": self._numeric_target}
        if is_frame(X):
            validate_data(self, X, y, reset=reset, skip_check_array=True)  # the names
        else:
            with texts_explained():
                X, y = validate_data(self, X, y, reset=reset, **options, **of_target)
        weight, counts = None, slice(None)
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            counts = weight > 0
            if not counts.any():
                raise ValueError("sample_weight is zero for all rows; a weight must be above it for those that count")
            # whatever their size, float32 has them; a batch with nothing but 0 would have no mean
            weight = np.maximum(weight[counts] / weight.max(), LEAST_WEIGHT)
        if reset:
            self._columns = Columns(X.iloc[counts] if is_frame(X) else X[counts])
        x = self._columns.numbers(X)
        if is_frame(X):
            x, y = check_X_y(x, y, **options, **of_target, estimator=self)
        y = self._checked_target(y.toarray() if issparse(y) else y)
        return x[counts], y[counts], weight

    def _begin(self, x, y, weight):
        _, loss = self._engine_target(y[:1])
        self._weighted = weight is not None
        loss, random = RowWeighted(loss) if self._weighted else loss, check_random_state(self.random_state)
        self._training = self._training_class(self.get_params(), x, weight, self._outputs, loss, random)
        self._training.names = self._columns.names(getattr(self, "feature_names_in_", None))

    def _target(self, y, weight):
        """The target as the loss of the first call takes it."""
        target, _ = self._engine_target(y)
        if self._weighted:
            return with_weight(target, torch.from_numpy(np.ones(len(y)) if weight is None else weight), self._outputs)
        if weight is not None:
            raise ValueError("the first call of partial_fit had no sample_weight; give it in that call, if only ones")
        return target

    def _answers(self, X):
        """The mean answers of the networks, an array (N, outputs)."""
        check_is_fitted(self)
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        if is_frame(X):
            validate_data(self, X, reset=False, skip_check_array=True)
            x = check_array(self._columns.numbers(X), **options, estimator=self)
        else:
            with texts_explained():
                x = validate_data(self, X, reset=False, **options)
            x = self._columns.numbers(x)
        return self._training.answers(x, self._answers_of).numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_training")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@contextlib.contextmanager
def texts_explained():
    """A context in which scikit-learn's message about a text in an array says what to do, too."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith("could not convert string to float"):
            raise ValueError(f"{error}; give a pandas frame, whose texts are categories") from None
        raise
