"""What `torchbp bench tables` measures of a model on a split: its loss, its score and its seconds."""

import resource
import time
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error

from torchbp.benchmarks.helpers.real_tables import CLASSES


def scored(model, parts, kind):
    """The loss and the score on the test rows, the loss of who knows only the training targets, and the seconds.

    Args:
        model: an estimator of scikit-learn's kind. parts: a `Split`. kind: CLASSES or NUMBER.
    """
    start = processor_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's defaults stop early, and peers warn of their own imports
        model.fit(parts.x, parts.y)
    answers = (model.predict_proba if kind == CLASSES else model.predict)(parts.x_test)
    seconds = processor_seconds() - start
    if kind == CLASSES:
        shares = np.bincount(parts.y) / len(parts.y)
        loss = log_loss(parts.y_test, answers, labels=range(len(shares)))
        trivial = log_loss(parts.y_test, np.tile(shares, (len(answers), 1)), labels=range(len(shares)))
        score = accuracy_score(parts.y_test, answers.argmax(1))
    else:
        deviation = parts.y.std()
        loss = root_mean_squared_error(parts.y_test, answers) / deviation
        trivial = root_mean_squared_error(parts.y_test, np.full(len(answers), parts.y.mean())) / deviation
        score = r2_score(parts.y_test, answers)
    return {"task": kind, "loss": loss, "trivial": trivial, "score": score, "rows": len(answers), "s": seconds}


def processor_seconds():
    """Of this process, of its threads, and of the processes that it has started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
