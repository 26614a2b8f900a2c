"""scikit-learn's own checks of an estimator, all of them."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from torchbp.estimators import MLPClassifier, MLPRegressor, PackClassifier, PackRegressor

SMALL = {"members": 1, "max_iter": 25, "batch_size": 64}
SMALL_PACK = {"members": 2, "folds": 2, "max_iter": 12, "batch_size": 64}


@parametrize_with_checks(
    [MLPClassifier(**SMALL), MLPRegressor(**SMALL), PackClassifier(**SMALL_PACK), PackRegressor(**SMALL_PACK)]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")  # that a check asks for
def test_scikit_learns_checks(estimator, check):
    check(estimator)
