"""Which configurations answer together, and the model that they make."""

import math
from functools import partial

import torch

from torchbp.estimators.pack_training import greedy_shares
from torchbp.training.errors import UserError
from torchbp.training.model.pack_network import PackNetwork
from torchbp.training.pack.rows import weights_of


def choose(draws, rows):
    """The configurations of the draws, by their numbers, as a `PackNetwork` has them; the loss of the chosen ones
    together; and the networks of those, one state for each fold.

    Raises:
        UserError: all networks have diverged.
    """
    draws = sorted(draws, key=lambda draw: draw["number"])
    answers = torch.cat([draw["answers"] for draw in draws]).double()
    finite = answers.flatten(1).isfinite().all(1)
    if not finite.any():
        raise UserError("the losses of all networks became nan or inf; a value may be too far from the others")
    scored, weight = rows.scored, weights_of(rows, rows.scored)
    y = rows.y[scored].double() if rows.y.is_floating_point() else rows.y[scored]

    def mean_losses(answers, doubt=0.0):
        return rows.task.row_losses(rows.task.outputs_for(answers), y, doubt) @ weight

    doubtful = partial(mean_losses, doubt=1 / len(y))  # as in the estimators
    shares, losses = torch.zeros(len(answers), dtype=torch.double), torch.full((len(answers),), torch.nan).double()
    shares[finite], losses[finite] = greedy_shares(answers[finite], doubtful), mean_losses(answers[finite])
    together = mean_losses((shares[finite, None, None] * answers[finite]).sum(0))
    known = [one for draw in draws for one in draw["configurations"]]
    configurations = [
        one | {"loss": loss if math.isfinite(loss) else None, "share": share}
        for one, loss, share in zip(known, losses.tolist(), shares.tolist(), strict=True)
    ]
    networks = [of_one for draw in draws for of_one in draw["networks"]]
    networks = [of_one for of_one, share in zip(networks, shares, strict=True) if share]
    return configurations, float(together), networks


def pack_network(configurations, networks, rows, settings):
    """The `PackNetwork` of the chosen networks. settings: those of its arguments that the command has."""
    scaling = rows.scaling
    model = PackNetwork(
        **settings,
        configurations=configurations,
        fold_sizes=rows.fold_sizes,
        inputs=scaling.features,
        scaling=type(scaling).__name__.lower(),
        seed=rows.seed,
    )
    model.scaling.load_state_dict(scaling.state_dict())
    model.task.load_state_dict(rows.task.state_dict())
    states = [state for of_one in networks for state in of_one]
    for net, state in zip(model.nets, states, strict=True):
        net.load_state_dict(state)
    return model.eval()
