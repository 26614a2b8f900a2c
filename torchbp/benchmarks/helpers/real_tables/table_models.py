"""The models of `torchbp bench tables`: ours, scikit-learn's and those of other libraries, each with its defaults."""

import importlib
from functools import partial

import torch
from sklearn import neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchbp import SGD, estimators
from torchbp.benchmarks.helpers.machine import installed_version
from torchbp.benchmarks.helpers.real_tables import CLASSES, NUMBER
from torchbp.estimators.pack_training import PackTraining

PEER = "scikit-learn's MLP"
OUR_PACK, OUR_MLP = FIRST = "torchbp's pack", "torchbp's MLP"


def standardised(model):
    return make_pipeline(StandardScaler(), model)


def with_scaled_target(model):
    """Without it, scikit-learn's MLP has to learn the size of the numbers first."""
    return TransformedTargetRegressor(model, transformer=StandardScaler())


# name: {kind of target: the model of a seed}
PACK = {
    OUR_PACK: {
        CLASSES: lambda seed: estimators.PackClassifier(random_state=seed),
        NUMBER: lambda seed: estimators.PackRegressor(random_state=seed),
    },
}
MODELS = {
    OUR_MLP: {
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


def changed_pack(options=None, **changes):
    """Our pack with other options, or with other attributes of its training: {kind of target: the model of a seed}."""
    training = type("ChangedTraining", (PackTraining,), changes)

    def make(base, seed):
        return type(base.__name__, (base,), {"_training_class": training})(random_state=seed, **options or {})

    return {CLASSES: partial(make, estimators.PackClassifier), NUMBER: partial(make, estimators.PackRegressor)}


def equal_shares(answers, mean_losses):
    return torch.full((len(answers),), 1 / len(answers), dtype=torch.double)


# our pack, each time with one part changed
ABLATION = PACK | {
    "8 members": changed_pack({"members": 8}),
    "16 members": changed_pack({"members": 16}),
    "32 members": changed_pack({"members": 32}),
    "8 folds": changed_pack({"members": 24, "folds": 8}),
    "quarters": changed_pack({"validation_fraction": 0.25}),
    "weights of one epoch": changed_pack(averaged=1),
    "twice as many steps": changed_pack(fewest_steps=32),
    "no ranks": changed_pack({"scaling": "clipped"}),
    "no embeddings": changed_pack(embeds=False),
    "one depth": changed_pack(depths=(2,)),
    "64 units": changed_pack(width=64),
    "no choice": changed_pack(shares_of=staticmethod(equal_shares)),
    "SGD": changed_pack(optimizer_class=partial(SGD, momentum=0.9), learning_rates=(0.02, 0.2)),
}


def of_library(package, classifier, regressor, for_classes=None, **options):
    """{kind of target: the model of a seed}, of classes of a package that is imported when a model is made."""

    def make(name, seed, **of_kind):
        return getattr(importlib.import_module(package), name)(random_state=seed, **options, **of_kind)

    return {CLASSES: partial(make, classifier, **for_classes or {}), NUMBER: partial(make, regressor)}


# package: its models; each has one thread, as all others. pytabkit's need its extra: pip install pytabkit[models]
OF_LIBRARIES = {
    "lightgbm": {"LightGBM": of_library("lightgbm", "LGBMClassifier", "LGBMRegressor", n_jobs=1, verbose=-1)},
    "catboost": {
        "CatBoost": of_library(
            "catboost", "CatBoostClassifier", "CatBoostRegressor", thread_count=1, verbose=0, allow_writing_files=False
        )
    },
    "pytabkit": {  # which stops classes by their accuracy, and documents these options where the log-loss counts
        "RealMLP-TD": of_library(
            "pytabkit",
            "RealMLP_TD_Classifier",
            "RealMLP_TD_Regressor",
            for_classes={"val_metric_name": "cross_entropy", "use_ls": False},
            n_threads=1,
            device="cpu",
        ),
        "TabM": of_library(
            "pytabkit",
            "TabM_D_Classifier",
            "TabM_D_Regressor",
            for_classes={"val_metric_name": "cross_entropy"},
            n_threads=1,
            device="cpu",
        ),
    },
}


def library_models():
    """The models of the libraries that are installed, and a note that names the others."""
    installed = {package: models for package, models in OF_LIBRARIES.items() if installed_version(package)}
    models = {name: of_kinds for of_package in installed.values() for name, of_kinds in of_package.items()}
    missing = [
        f"{' and '.join(of_package)} ({package})"
        for package, of_package in OF_LIBRARIES.items()
        if package not in installed
    ]
    return models, f"not installed: {', '.join(missing)}" if missing else ""


def chosen_models(pack, peers, ablation, names=None):
    """{name: {kind of target: the model of a seed}}, and which are missing, in words; arguments: as of `measure`."""
    if names is not None:
        of_libraries, missing = library_models()
        known = MODELS | PACK | of_libraries | ABLATION
        lacking = [name for name in names if name not in known]
        return {name: known[name] for name in names if name in known}, missing if lacking else ""
    if ablation:
        return ABLATION, ""
    of_libraries, missing = library_models() if peers else ({}, "")
    return MODELS | (PACK if pack else {}) | of_libraries, missing


def names_of_all():
    """Of all models, those that are not installed included."""
    of_libraries = (name for models in OF_LIBRARIES.values() for name in models)
    return list(dict.fromkeys([*MODELS, *PACK, *of_libraries, *ABLATION]))
