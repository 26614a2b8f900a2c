"""The models of `torchbp bench tables`: ours and scikit-learn's, each with its defaults."""

from sklearn import neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchbp import estimators
from torchbp.benchmarks.helpers.real_tables import CLASSES, NUMBER

PEER = "scikit-learn's MLP"


def standardised(model):
    return make_pipeline(StandardScaler(), model)


def with_scaled_target(model):
    """Without it, scikit-learn's MLP has to learn the size of the numbers first."""
    return TransformedTargetRegressor(model, transformer=StandardScaler())


# name: {kind of target: the model of a seed}
PACK = {
    "torchbp's pack": {
        CLASSES: lambda seed: estimators.PackClassifier(random_state=seed),
        NUMBER: lambda seed: estimators.PackRegressor(random_state=seed),
    },
}
MODELS = {
    "torchbp's MLP": {
        CLASSES: lambda seed: estimators.MLPClassifier(random_state=seed),
        NUMBER: lambda seed: estimators.MLPRegressor(random_state=seed),
    },
    PEER: {
        CLASSES: lambda seed: standardised(neural_network.MLPClassifier(random_state=seed)),
        NUMBER: lambda seed: standardised(with_scaled_target(neural_network.MLPRegressor(random_state=seed))),
    },
    "logistic or ridge": {
        CLASSES: lambda seed: standardised(LogisticRegression(max_iter=1000)),
        NUMBER: lambda seed: standardised(RidgeCV()),
    },
    "histogram boosting": {
        CLASSES: lambda seed: HistGradientBoostingClassifier(random_state=seed),
        NUMBER: lambda seed: HistGradientBoostingRegressor(random_state=seed),
    },
}
