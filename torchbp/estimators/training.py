"""The training of an estimator's networks: scaled features, rows held out for validation, AdamW by the engine."""

import copy
import math
from numbers import Integral

import numpy as np
import torch

from torchbp import nn
from torchbp.engine import AdamW
from torchbp.estimators.held_out import training_rows
from torchbp.estimators.scaling import Scaling
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

    def __init__(self, options, x, weight, outputs, loss, random):
        check_options(options)
        self.options, self.random = options, random
        self.scaling = Scaling(options["scaling"], x, weight)
        self.dtype = torch.float64 if len(x) < FEWEST_ROWS else torch.float32
        self.generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        sizes = [x.shape[1], *np.atleast_1d(options["hidden_layer_sizes"]).astype(int).tolist(), outputs]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.randint(2**31)))
            network = network_of(sizes, options["activation"], options["members"], options["dropout"])
        self.network = network.to(self.dtype)
        self.optimizer = AdamW(
            self.network,
            lr=options["learning_rate_init"],
            weight_decay=options["weight_decay"],
            loss=loss,
            compile=False,  # tracing a program takes longer than all the steps of such a fit
        )

    def fit(self, x, y, classes):
        """The losses of the training and of the validation rows, each (epochs, members); the second is None where the
        rows are too few to spare some.

        Args:
            x: (N, F), float64. y: a tensor, as the loss takes it. classes: (N), of which each part has its share, or
                None.
        """
        rows, patience = len(x), self.options["n_iter_no_change"]
        if rows < FEWEST_ROWS:
            return self._fitted(x, y, batch_size=rows, patience=self.options["max_iter"]), None
        validated = round(rows * self.options["validation_fraction"])
        if not validated:
            return self._fitted(x, y, batch_size=self.batch_size(rows), patience=patience), None
        steps = max(1, round((rows - validated) / self.batch_size(rows)))
        batch = (rows - validated) // steps  # all steps of an epoch have as many rows, which saves time
        mask = training_rows(classes, rows, self.options["members"], rows - steps * batch, self.random)
        return self._fitted(x, y, batch_size=batch, patience=patience, rows=mask, validation="rest")

    def epoch(self, x, y):
        """The losses (members) of one epoch over these rows, all of them."""
        return self._fitted(x, y, batch_size=self.batch_size(len(x)), max_epochs=1)[0]

    def _fitted(self, x, y, **options):
        limits = {"max_epochs": self.options["max_iter"], "min_delta": self.options["tol"]}
        x = torch.from_numpy(self.scaling(x)).to(self.dtype)
        y = y.to(self.dtype) if y.is_floating_point() else y
        return self.optimizer.fit(x, y, progress=False, generator=self.generator, **{**limits, **options})

    def batch_size(self, rows):
        batch = self.options["batch_size"]
        return min(rows, min(256, max(16, 2 ** int(math.log2(rows / 32)))) if batch == "auto" else batch)

    @torch.no_grad()
    def outputs(self, x):
        """Tensors (members, n, outputs), some rows x (N, F) after the others; float64, so that what a row gets does not
        depend on those beside it."""
        network = copy.deepcopy(self.network).double().eval()
        widest = max(max(p.shape[1:]) for p in network.parameters())
        for part in np.array_split(x, -(-len(x) * widest * self.options["members"] // AT_ONCE)):
            yield network(torch.from_numpy(self.scaling(part)))


def network_of(sizes, activation, members, dropout):
    """The ensemble: `nn.MLP`, or the same with `nn.Dropout` behind each activation."""
    network = nn.MLP(*sizes, activation=activation, members=members)
    if not dropout:
        return network
    activations = registry.activation(activation).module_class
    layers = ([layer, nn.Dropout(dropout)] if type(layer) is activations else [layer] for layer in network)
    return torch.nn.Sequential(*(layer for of_one in layers for layer in of_one))


def check_options(options):
    """Raises a ValueError for an option that neither the engine nor the network checks."""
    for name in ("members", "max_iter", "n_iter_no_change", "batch_size"):
        value, auto = options[name], name == "batch_size"
        if not (isinstance(value, Integral) and value is not True and value > 0) and not (auto and value == "auto"):
            raise ValueError(f"{name}={value!r} must be a positive integer{' or auto' * auto}")
    for name in ("validation_fraction", "dropout"):
        if not 0 <= options[name] < 1:
            raise ValueError(f"{name}={options[name]!r} must be at least 0 and below 1")
