"""The training of a pack: configurations that differ, each on all folds, and the choice of some of them.

A configuration is trained once for each fold, without that fold's rows, and validated on them. So each row has, of each
configuration, an answer by a network that did not train on it. These answers choose: from the best configuration on,
that one is added whose answers make the loss of the mean the lowest, some of them several times; and those that were
added until the loss was the lowest are the choice.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch

from torchbp.engine import AdamW, Pack
from torchbp.estimators.held_out import spread
from torchbp.estimators.training import Training, network_of, parts_of, widest

DEPTHS = 1, 2, 3  # hidden layers, one after the other
WIDTH = 64
LR = 1e-3, 1e-2  # the logarithm is uniform
WEIGHT_DECAY = 1e-4, 0.3
DROPOUT = 0.0, 0.0, 0.1, 0.2, 0.3
ROUNDS = 50  # of the choice


class Configuration(NamedTuple):
    """What a configuration was, the loss of its answers to the rows that its networks did not train on, and its share
    in the answers of the whole. Of few rows, which have no folds, the loss is nan and all have the same share."""

    hidden_layer_sizes: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    dropout: float
    loss: float = float("nan")
    share: float = 0.0


class PackTraining(Training):
    """As `Training`, of a pack. `configurations` are those drawn; `networks` those that are kept, a list for each."""

    def make_networks(self, features, outputs, loss):
        folds = self.options["folds"]
        self.configurations = [self.drawn(number) for number in range(max(1, self.options["members"] // folds))]
        self.networks, of_each = [], {"lr": [], "weight_decay": []}
        for hidden, lr, decay, dropout, *_ in self.configurations:
            sizes = [features, *hidden, outputs]
            self.networks.append([network_of(sizes, self.options["activation"], dropout) for _ in range(folds)])
            of_each["lr"] += [lr] * folds
            of_each["weight_decay"] += [decay] * folds
        networks = [network.to(self.dtype) for of_one in self.networks for network in of_one]
        # with "auto" the time would decide what computes a step, and its rounding may decide the choice
        self.optimizer = Pack(networks, AdamW, loss=loss, compile=False, **of_each)

    def drawn(self, number):
        lr, decay = (float(np.exp(self.random.uniform(*np.log(limits)))) for limits in (LR, WEIGHT_DECAY))
        dropout = float(self.random.choice(DROPOUT))
        hidden = (WIDTH,) * DEPTHS[number % len(DEPTHS)]
        return Configuration(hidden, lr, decay, 0.0 if self.has_few_rows else dropout)

    def fit(self, x, y, classes):
        """As `Training.fit`."""
        if self.options["folds"] < 2:
            folds = self.options["folds"]
            raise ValueError(f"folds={folds} must be 2 at least: a network is validated on the rows of its fold")
        if self.has_few_rows:
            return self.fit_on_all(x, y), None
        rows, folds = len(x), self.options["folds"]
        trained, batch = self.equal_batches(rows - -(-rows // folds))
        order, held_out = spread(classes, rows, self.random), torch.arange(rows - trained)
        self.held_out = [order[(held_out + fold * rows // folds) % rows] for fold in range(folds)]
        mask = torch.ones(folds, rows, dtype=torch.bool)
        for of_fold, places in zip(mask, self.held_out, strict=True):
            of_fold[places] = False
        masks = mask.repeat(len(self.configurations), 1)
        return self.fitted(x, y, batch_size=batch, rows=masks, validation="rest")

    @torch.no_grad()
    def choose(self, x, losses_of, answers_of, weight):
        """Give each configuration its share, and drop those that have none.

        Args:
            x: (N, F), the rows of `fit`.
            losses_of(answers): the losses of the rows, (…, N). answers_of(z): the answers.
            weight: (N), or None.
        """
        count = len(self.configurations)
        if self.has_few_rows:
            shares, losses = torch.full((count,), 1 / count), torch.full((count,), torch.nan)
        else:
            answers = torch.stack([self.unseen_answers(of_one, x, answers_of) for of_one in self.networks])
            weight = torch.ones(len(x), dtype=torch.double) if weight is None else torch.from_numpy(weight)
            mean_losses = lambda answers: losses_of(answers) @ weight / weight.sum()  # noqa: E731
            shares, losses = greedy_shares(answers, mean_losses), mean_losses(answers)
        numbers = zip(self.configurations, losses.tolist(), shares.tolist(), strict=True)
        self.configurations = [of_one._replace(loss=loss, share=share) for of_one, loss, share in numbers]
        self.networks = [of_one for of_one, share in zip(self.networks, shares, strict=True) if share]
        self.optimizer = None

    def unseen_answers(self, networks, x, answers_of):
        """The answers (N, outputs) of a configuration's networks, each to the rows that it did not train on."""
        found = None
        for network, places in zip(networks, self.held_out, strict=True):
            answers = answers_of(evaluated(network)(self.scaled(x[places])))
            found = answers.new_empty(len(x), answers.shape[-1]) if found is None else found
            found[places] = answers
        return found

    @torch.no_grad()
    def answers(self, x, answers_of):
        """The answers (N, outputs), float64, by the shares."""
        shares = [of_one.share for of_one in self.configurations if of_one.share]
        networks = [[evaluated(network) for network in of_one] for of_one in self.networks]
        parts = np.array_split(x, parts_of(x, max(widest(of_one[0]) for of_one in networks)))
        found = []
        for part in map(self.scaled, parts):
            means = [torch.stack([answers_of(network(part)) for network in of_one]).mean(0) for of_one in networks]
            found.append(sum(share * mean for share, mean in zip(shares, means, strict=True)))
        return torch.cat(found)


def evaluated(network):
    """A copy for answers, in float64."""
    return copy.deepcopy(network).double().eval()


def greedy_shares(answers, mean_losses):
    """How often each of the answers (C, N, outputs) is chosen, over the number of choices: (C).

    Args:
        mean_losses(answers): (…, N, outputs) to (…).
    """
    total, chosen, lowest = torch.zeros_like(answers[0]), [], []
    for number in range(1, ROUNDS + 1):
        losses = mean_losses((total + answers) / number)
        chosen.append(losses.argmin())
        lowest.append(losses.min())
        total += answers[chosen[-1]]
    chosen = torch.stack(chosen[: int(torch.stack(lowest).argmin()) + 1])
    return chosen.bincount(minlength=len(answers)).double() / len(chosen)
