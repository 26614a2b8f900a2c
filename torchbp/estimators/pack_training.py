"""The training of a pack: configurations that differ, each on several folds, and the choice of some of them.

A configuration is trained once for each fold, without that fold's rows, and validated on them. So each row that is in a
fold has, of each configuration, an answer by a network that did not train on it. These answers choose: from the best
configuration on, that one is added whose answers make the loss of the mean the lowest, some of them several times; and
those that were added until the loss was the lowest are the choice. In this loss, each of the N rows has any class
instead of its own with a chance of 1/N: otherwise, where all answers are right, who is surest of them would be chosen.
"""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from torchbp import nn
from torchbp.engine import AdamW, seed_dropout
from torchbp.estimators.fold_training import train_folds
from torchbp.estimators.held_out import spread
from torchbp.estimators.scaling import Ranked
from torchbp.estimators.training import Training, network_of, parts_of, widest

ROUNDS = 50  # of the choice
MOST_WAVES, MOST_WAVES_OF_ALL = 8, 128  # of a feature, and about so many of all features


def greedy_shares(answers, mean_losses):
    """How often each of the answers (C, N, outputs) is chosen, over the number of choices: (C).

    Args:
        mean_losses(answers): (…, N, outputs) to (…).
    """
    total, chosen, lowest = torch.zeros_like(answers[0]), [], []
    for number in range(1, ROUNDS + 1):
        losses = mean_losses((total + answers) / number).nan_to_num(nan=torch.inf)  # of networks that have diverged
        chosen.append(losses.argmin())
        lowest.append(losses.min())
        total += answers[chosen[-1]]
    chosen = torch.stack(chosen[: int(torch.stack(lowest).argmin()) + 1])
    return chosen.bincount(minlength=len(answers)).double() / len(chosen)


class Configuration(NamedTuple):
    """What a configuration was, the loss of its answers to the rows that its networks did not train on, and its share
    in the answers of the whole. Of few rows, which have no folds, the loss is nan and all have the same share.

    frequency: of the `PeriodicEmbedding` of the ranks of the features; 0 without one. seed: of the weights and of the
    masks of dropout. They are the same, whatever other configurations there are.
    """

    hidden_layer_sizes: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    dropout: float
    frequency: float
    seed: int
    loss: float = float("nan")
    share: float = 0.0


class PackTraining(Training):
    """As `Training`, of a pack. `configurations` are those drawn; `networks` those that are kept, a list for each.

    What a configuration is drawn from: `depths`, one after the other; `learning_rates`, `weight_decays` and
    `frequencies`, whose logarithm is uniform; `dropouts`. `embeds`: whether they have a periodic embedding of the
    ranks, where there are ranks. `averaged`: of how many epochs the weights are a mean, as `train_folds` says.
    `choosing` (folds, n) are the places of the rows that choose.
    """

    depths, width = (2, 3, 1), 128
    learning_rates, weight_decays = (4e-3, 2e-2), (1e-4, 0.3)
    dropouts = 0.0, 0.0, 0.1, 0.2, 0.3
    frequencies, embeds = (0.3, 2.0), True
    averaged, fewest_steps = 4, 16
    optimizer_class = AdamW
    shares_of = staticmethod(greedy_shares)

    def make_networks(self, features, outputs, loss):
        # from a stream of its own: the folds and the order of the rows do not depend on how many there are
        random = np.random.RandomState(self.random.randint(2**31))
        self.configurations = self.drawn(self.options["members"] // self.options["folds"], random)
        self.networks = [self.networks_of(of_one, features, outputs) for of_one in self.configurations]
        self.loss = loss

    def drawn(self, count, random):
        """So many configurations; a larger count gives the same ones first."""
        has_embeddings = self.embeds and ranks_of(self.scaling) > 0
        found = []
        for number in range(count):
            lr, decay = (drawn_logarithmically(of, random) for of in (self.learning_rates, self.weight_decays))
            dropout = 0.0 if self.has_few_rows else float(random.choice(self.dropouts))
            hidden = (self.width,) * self.depths[number % len(self.depths)]
            frequency = drawn_logarithmically(self.frequencies, random)
            frequency *= has_embeddings
            found.append(Configuration(hidden, lr, decay, dropout, frequency, int(random.randint(2**31))))
        return found

    def networks_of(self, configuration, features, outputs):
        """The networks of a configuration, one for each fold, as they are before the training."""
        sizes = [features, *configuration.hidden_layer_sizes, outputs]
        drawn = configuration.dropout, configuration.frequency, ranks_of(self.scaling)
        torch.manual_seed(configuration.seed)
        networks = [
            embedded_network(sizes, self.options["activation"], *drawn).to(self.dtype)
            for _ in range(self.options["folds"])
        ]
        for fold, network in enumerate(networks):
            seed_dropout(network, configuration.seed + fold)
        return networks

    def fit(self, x, y, classes):
        """As `Training.fit`."""
        rows, folds, fraction = len(x), self.options["folds"], self.options["validation_fraction"]
        if not 0 < folds * fraction <= 1:
            raise ValueError(
                f"validation_fraction={fraction} must be above 0, and 1/{folds} at most: the rows of {folds} folds"
            )
        if self.has_few_rows:
            return self.fitted(x, y, batch_size=rows)
        validated = max(1, int(rows * fraction))
        if folds * validated > rows:
            raise ValueError(f"folds={folds} must be {rows} at most, a row for each")
        trained, batch = self.equal_batches(rows - validated)
        order, held_out = spread(classes, rows, self.random), torch.arange(rows - trained)
        self.choosing = order[: folds * validated].view(folds, validated)
        held_out = [order[(held_out + fold * validated) % rows] for fold in range(folds)]
        return self.fit_without(held_out, x, y, batch_size=batch)

    def fit_without(self, held_out, x, y, **options):
        """Train each configuration without the rows of each fold, which validate: `held_out` are their places."""
        masks = torch.ones(len(held_out), len(x), dtype=torch.bool)
        for mask, places in zip(masks, held_out, strict=True):
            mask[places] = False
        return self.fitted(x, y, masks=masks, **options)

    def fitted(self, x, y, masks=None, until=None, **options):
        """Train all configurations, one after the other. The losses of the training and of the validation rows, each
        (epochs, networks), where one that has stopped keeps its last loss; the second is None without masks.
        until(number): is called after each epoch of the configuration of this number, and may end its training.

        Raises:
            FloatingPointError: the losses of all configurations became nan or inf.
        """
        limits = {"max_epochs": "max_iter", "min_delta": "tol", "patience": "n_iter_no_change"}
        options = {name: self.options[of_estimator] for name, of_estimator in limits.items()} | options
        x, y = self.rows_to_train(x), y.to(self.dtype) if y.is_floating_point() else y
        order = self.generator.get_state()
        histories = []
        for number, (configuration, networks) in enumerate(zip(self.configurations, self.networks, strict=True)):
            numbers = {"lr": configuration.learning_rate, "weight_decay": configuration.weight_decay}
            # with compile="auto" the time would decide what computes a step, and its rounding may decide the choice
            make = partial(self.optimizer_class, loss=self.loss, compile=False, **numbers)
            self.generator.set_state(order)  # it does not depend on the other configurations
            options |= {"generator": self.generator, "until": until and partial(until, number)}
            history = train_folds(networks, make, x, y, masks, averaged=self.averaged, **options)
            histories.append(history)
        self.epochs = [len(history.training) for history in histories]
        self.diverged = torch.tensor([not all(map(is_finite, of_one)) for of_one in self.networks])
        if self.diverged.all():
            raise FloatingPointError(f"{self.said_of_diverged()}; a value may be too far from the others")
        training = side_by_side([history.training for history in histories])
        return training, None if masks is None else side_by_side([history.validation for history in histories])

    def said_of_diverged(self):
        return f"the loss of {self.diverged.sum()} of {len(self.diverged)} configurations became nan or inf"

    @torch.no_grad()
    def choose(self, x, y, losses_of, answers_of, weight):
        """Give each configuration its share, and drop those that have none.

        Args:
            x: (N, F), y: as of `fit`.
            losses_of(answers, y, doubt): the losses of rows, (…, n), where a row has any class instead of its own with
                a chance of `doubt`. answers_of(z): the answers.
            weight: (N), or None.
        """
        if self.has_few_rows:
            shares = (~self.diverged).double()
            shares, losses = shares / shares.sum(), torch.full_like(shares, torch.nan)
        else:
            answers = torch.stack([self.unseen_answers(of_one, x, answers_of) for of_one in self.networks])
            places = self.choosing.flatten()
            y = y[places]
            weight = torch.ones(len(y), dtype=torch.double) if weight is None else torch.from_numpy(weight)[places]

            def mean_losses(answers, doubt=0.0):
                return losses_of(answers, y, doubt) @ weight / weight.sum()

            shares = self.shares_of(answers, lambda answers: mean_losses(answers, doubt=1 / len(y)))
            losses = mean_losses(answers)
        numbers = zip(self.configurations, losses.tolist(), shares.tolist(), strict=True)
        self.configurations = [of_one._replace(loss=loss, share=share) for of_one, loss, share in numbers]
        chosen = (of_one for of_one, share in zip(self.networks, shares, strict=True) if share)
        self.networks = [[evaluated(network) for network in of_one] for of_one in chosen]

    def unseen_answers(self, networks, x, answers_of):
        """The answers (n, outputs) of a configuration's networks to `choosing`, each to those that are its own."""
        return torch.cat(
            [
                answers_of(evaluated(network)(self.scaled(x[places])))
                for network, places in zip(networks, self.choosing, strict=True)
            ]
        )

    @torch.no_grad()
    def answers(self, x, answers_of):
        """The answers (N, outputs), float64, by the shares."""
        shares = [of_one.share for of_one in self.configurations if of_one.share]
        parts = np.array_split(x, parts_of(x, max(widest(of_one[0]) for of_one in self.networks)))
        found = []
        for part in map(self.scaled, parts):
            means = [torch.stack([answers_of(network(part)) for network in of_one]).mean(0) for of_one in self.networks]
            found.append(sum(share * mean for share, mean in zip(shares, means, strict=True)))
        return torch.cat(found)


def embedded_network(sizes, activation, dropout, frequency, ranks):
    """`network_of` with a periodic embedding of the first `ranks` features in front; without one where the frequency
    is 0."""
    if not frequency:
        return network_of(sizes, activation, dropout)
    waves = min(MOST_WAVES, max(1, MOST_WAVES_OF_ALL // ranks))
    layers = network_of([sizes[0] + ranks * waves, *sizes[1:]], activation, dropout)
    return torch.nn.Sequential(nn.PeriodicEmbedding(ranks, waves, frequency), *layers)


def ranks_of(scaling):
    """How many of the first features are ranks."""
    return scaling.ranks if isinstance(scaling, Ranked) else 0


def drawn_logarithmically(limits, random):
    return float(np.exp(random.uniform(*np.log(limits))))


def evaluated(network):
    """A copy for answers, in float64."""
    return copy.deepcopy(network).double().eval()


def is_finite(network):
    return all(p.isfinite().all() for p in network.parameters())


def side_by_side(histories):
    """(epochs, networks) of the longest, from histories (epochs, folds); a shorter one stays as it was."""
    epochs = max(map(len, histories))
    return torch.cat([torch.cat([of, of[-1:].expand(epochs - len(of), -1)]) for of in histories], 1)
