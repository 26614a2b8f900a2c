"""`MLPClassifier` and `MLPRegressor`: networks that torchbp's engine trains, with scikit-learn's interface."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from torchbp import nn
from torchbp.engine import AdamW
from torchbp.estimators.training import Training
