"""The training of an estimator's networks: scaled features, rows held out for validation, AdamW by the engine."""

import copy
import math
from numbers import Integral, Real

import numpy as np
import torch

from torchbp import nn
from torchbp.engine import AdamW
from torchbp.estimators.held_out import training_rows
from torchbp.estimators.scaling import as_tensor, fitted_scaling
from torchbp.ops import registry

FEWEST_ROWS = 50  # that can spare some for validation; with fewer all goes in float64, which costs nothing there
AT_ONCE = 2**22  # numbers of the widest layer, of all members, that a prediction holds at once


class Training:
    """The networks of an estimator, with their scaling and their optimizer.

    Args:
        options: those of the estimator, `get_params()`.
        x: (N, F), float64, the rows that the scaling is of. weight: (N), or None.
        outputs: of each network. loss: as the engine takes it.
        random: a numpy.random.RandomState.

    Raises:
        ValueError: an option that does not fit.
    """

    fewest_steps = 32  # of an epoch, where the rows of a step are not given and there are many

    def __init__(self, options, x, weight, outputs, loss, random):
        self.options, self.random, self.has_few_rows = checked_options(options), random, len(x) < FEWEST_ROWS
        self.scaling, self.names = fitted_scaling(options["scaling"], x, weight), None
        self.dtype = torch.float64 if self.has_few_rows else torch.float32
        self.generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.randint(2**31)))
            self.make_networks(self.scaling.features, outputs, loss)

    def make_networks(self, features, outputs, loss):
        options = self.options
        sizes = [features, *np.atleast_1d(options["hidden_layer_sizes"]).astype(int).tolist(), outputs]
        network = network_of(sizes, options["activation"], options["dropout"], options["members"])
        self.network = network.to(self.dtype)
        numbers = {"lr": options["learning_rate_init"], "weight_decay": options["weight_decay"]}
        # a program takes longer to trace than all the steps of such a fit
        self.optimizer = AdamW(self.network, loss=loss, compile=False, **numbers)

    def fit(self, x, y, classes):
        """The losses of the training and of the validation rows, each (epochs, members); the second is None where the
        rows are too few to spare some.

        Args:
            x: (N, F), float64. y: a tensor, as the loss takes it. classes: (N), of which each part has its share, or
                None.
        """
        validated = round(len(x) * self.options["validation_fraction"])
        if self.has_few_rows or not validated:
            return self.fit_on_all(x, y), None
        trained, batch = self.equal_batches(len(x) - validated)
        mask = training_rows(classes, len(x), self.options["members"], len(x) - trained, self.random)
        return self.fitted(x, y, batch_size=batch, rows=mask, validation="rest")

    def fit_on_all(self, x, y):
        """The losses, without validation: of few rows, which are one batch, for all epochs."""
        if self.has_few_rows:
            return self.fitted(x, y, batch_size=len(x), patience=self.options["max_iter"])
        return self.fitted(x, y, batch_size=self.batch_size(len(x)))

    def epoch(self, x, y):
        """The losses (members) of one epoch over these rows, all of them."""
        return self.fitted(x, y, batch_size=self.batch_size(len(x)), max_epochs=1)[0]

    def fitted(self, x, y, **options):
        limits = {"max_epochs": "max_iter", "min_delta": "tol", "patience": "n_iter_no_change"}
        options = {name: self.options[of_estimator] for name, of_estimator in limits.items()} | options
        y = y.to(self.dtype) if y.is_floating_point() else y
        return self.optimizer.fit(self.rows_to_train(x), y, progress=False, generator=self.generator, **options)

    def rows_to_train(self, x):
        """The scaled rows, in the dtype of the networks.

        Raises:
            ValueError: a number that is too large for it, where the scaling lets it.
        """
        rows = self.scaled(x, self.dtype)
        if not rows.isfinite().all():
            row, column = (~rows.isfinite()).nonzero()[0].tolist()
            name = column if self.names is None else self.names[column]
            scaling = self.options["scaling"]
            raise ValueError(
                f"column {name} has {x[row, column]:.3g} in row {row}, which is too large for float32 with "
                f"scaling={scaling!r}; use scaling='clipped'"
            )
        return rows

    def scaled(self, x, dtype=torch.float64):
        return self.scaling(as_tensor(x)).to(dtype)

    def batch_size(self, rows):
        batch = self.options["batch_size"]
        return min(rows, min(256, max(16, 2 ** int(math.log2(rows / self.fewest_steps)))) if batch == "auto" else batch)

    def equal_batches(self, rows):
        """How many of so many rows fill the batches of an epoch, and the rows of a batch: a rest would cost a step."""
        steps = max(1, round(rows / self.batch_size(rows)))
        return rows // steps * steps, rows // steps

    @torch.no_grad()
    def answers(self, x, answers_of):
        """The mean of the members' answers, (N, outputs), float64, so that what a row gets does not depend on those
        beside it."""
        network = copy.deepcopy(self.network).double().eval()
        parts = np.array_split(x, parts_of(x, self.options["members"] * widest(network)))
        return torch.cat([answers_of(network(self.scaled(part))).mean(0) for part in parts])


def network_of(sizes, activation, dropout, members=None):
    """`nn.MLP`, or the same with `nn.Dropout` behind each activation."""
    network = nn.MLP(*sizes, activation=activation, members=members)
    if not dropout:
        return network
    activations = registry.activation(activation).module_class
    layers = ([layer, nn.Dropout(dropout)] if type(layer) is activations else [layer] for layer in network)
    return torch.nn.Sequential(*(layer for of_one in layers for layer in of_one))


def widest(network):
    """The numbers of the widest layer, for a row."""
    return max(max(p.shape[-2:]) for p in network.parameters())


def parts_of(x, numbers):
    """In how many parts the rows x go through networks whose widest layers have so many numbers for a row."""
    return -(-len(x) * numbers // AT_ONCE)


def checked_options(options):
    """The options with their integers as Python's. Raises a ValueError for one that neither the engine nor the network
    checks."""
    options = dict(options)
    for name in {"members", "folds", "max_iter", "n_iter_no_change", "batch_size"} & options.keys():
        value, auto = options[name], name == "batch_size"
        if auto and isinstance(value, str) and value == "auto":
            continue
        if not isinstance(value, Integral) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"{name}={value!r} must be a positive integer{' or auto' * auto}")
        options[name] = int(value)
    for name in {"validation_fraction", "dropout"} & options.keys():
        if not (isinstance(options[name], Real) and 0 <= options[name] < 1):
            raise ValueError(f"{name}={options[name]!r} must be at least 0 and below 1")
    for name in {"tol", "learning_rate_init", "weight_decay"} & options.keys():
        if not (isinstance(options[name], Real) and 0 <= options[name] < math.inf):
            raise ValueError(f"{name}={options[name]!r} must be a number from 0 on")
    if options["members"] < options.get("folds", 1):
        raise ValueError(f"members={options['members']} must be {options['folds']} at least, one for each of the folds")
    return options
