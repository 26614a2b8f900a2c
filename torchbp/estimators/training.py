"""The training of an estimator's networks: scaled features, rows held out for validation, AdamW by the engine."""

import copy

import numpy as np
import torch

from torchbp import nn
from torchbp.engine import AdamW
from torchbp.estimators.held_out import training_rows
from torchbp.estimators.scaling import shift_and_scale
from torchbp.nn._validation import is_positive_int
from torchbp.ops import registry

FEWEST_ROWS = 50  # that can spare some for validation
AT_ONCE = 2**22  # numbers of the widest layer, of all members, that a prediction holds at once


def network_of(sizes, activation, members, dropout):
    """The ensemble: `nn.MLP`, or the same with `nn.Dropout` behind each activation."""
    if not dropout:
        return nn.MLP(*sizes, activation=activation, members=members)
    layers = []
    for in_features, out_features in zip(sizes[:-2], sizes[1:-1], strict=True):
        layers.append(nn.EnsembleLinear(members, in_features, out_features))
        layers += [registry.activation(activation).module_class(), nn.Dropout(dropout)]
    return torch.nn.Sequential(*layers, nn.EnsembleLinear(members, *sizes[-2:]))


class Training:
    """Networks of an estimator with its options, their scaling and their optimizer.

    Args:
        options: those of the estimator, `get_params()`.
        x: (N, F), float64, the rows that the scaling is of. weight: (N).
        outputs: of each network. loss: of the engine.
        random: a numpy.random.RandomState.
    """

    def __init__(self, options, x, weight, outputs, loss, random):
        self.options, self.random = checked(options), random
        self.dtype = torch.float32 if len(x) >= FEWEST_ROWS else torch.float64
        self.shift, self.scale = shift_and_scale(x, weight, options["scaling"])
        self.generator = torch.Generator().manual_seed(int(random.randint(2**31)))
        sizes = [x.shape[1], *np.atleast_1d(options["hidden_layer_sizes"]).tolist(), outputs]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.randint(2**31)))
            network = network_of(sizes, options["activation"], options["members"], options["dropout"])
        self.network = network.to(self.dtype)
        self.optimizer = AdamW(
            self.network,
            lr=options["learning_rate_init"],
            weight_decay=options["weight_decay"],
            loss=loss,
            compile=False,  # tracing a program costs more processor time than such a fit
        )

    def scaled(self, x):
        return torch.from_numpy((x - self.shift) / self.scale)

    def fit(self, x, y, classes=None):
        """The histories of the loss, of the training and of the validation rows, each (epochs, members), and where a
        minimum was; without validation rows, which a table of few rows cannot spare, the second is None.

        Args:
            x: (N, F), float64. y: a tensor, as the loss takes it. classes: (N), of which each part has its share.
        """
        rows, members, options = len(x), self.options["members"], self.options
        x, y = self.scaled(x).to(self.dtype), self.of_dtype(y)
        limits = {"max_epochs": options["max_iter"], "min_delta": options["tol"], "generator": self.generator}
        if rows < FEWEST_ROWS:
            losses = self.optimizer.fit(x, y, batch_size=rows, patience=options["max_iter"], progress=False, **limits)
            return losses, None
        trained, batch = rows - round(rows * options["validation_fraction"]), self.batch_size(rows)
        steps = -(-trained // batch)
        batch = trained // steps
        mask = training_rows(classes, rows, members, rows - steps * batch, self.random)
        return self.optimizer.fit(
            x,
            y,
            rows=mask,
            validation="rest",
            batch_size=batch,
            patience=options["n_iter_no_change"],
            progress=False,
            **limits,
        )

    def epoch(self, x, y):
        """One epoch over these rows. Returns the losses (members)."""
        limits = {"max_epochs": 1, "batch_size": self.batch_size(len(x)), "generator": self.generator}
        x, y = self.scaled(x).to(self.dtype), self.of_dtype(y)
        return self.optimizer.fit(x, y, progress=False, **limits)[0]

    def of_dtype(self, y):
        return y.to(self.dtype) if y.is_floating_point() else y

    def batch_size(self, rows):
        batch = self.options["batch_size"]
        return min(256, max(32, rows // 16)) if batch == "auto" else min(batch, rows)

    @torch.no_grad()
    def outputs(self, x):
        """Tensors (members, n, outputs), some rows x (N, F) after the others; float64, so that the answer to a row
        does not depend on those beside it."""
        network = copy.deepcopy(self.network).double().eval()
        widest = max(max(p.shape[1:]) for p in network.parameters() if p.dim() == 3)
        for part in np.array_split(x, -(-len(x) * widest * self.options["members"] // AT_ONCE)):
            yield network(self.scaled(part))


def checked(options):
    """The options.

    Raises:
        ValueError: one that the engine does not check.
    """
    for name in ("members", "max_iter", "n_iter_no_change", "batch_size"):
        if not is_positive_int(options[name]) and not (name, options[name]) == ("batch_size", "auto"):
            raise ValueError(f"{name}={options[name]!r} must be a positive integer" + ' or "auto"' * (name == "batch_size"))
    for name in ("validation_fraction", "dropout"):
        if not 0 <= options[name] < 1:
            raise ValueError(f"{name}={options[name]!r} must be from 0 to 1, without 1")
    return options
