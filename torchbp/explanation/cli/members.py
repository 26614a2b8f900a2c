"""The networks of an ensemble or a pack: which one is explained, and how all of them answer together."""

import torch

from torchbp.explanation.ensemble import Ensemble, MemberAnswer
from torchbp.training.errors import SettingError


def shown_member(model, settings):
    """The number of the network that is explained: that of --member, or that with the largest share in the answers;
    None of a single network.

    Raises:
        SettingError: a number of a single network; none where a setting changes one of several networks.
    """
    if not model.numbers:
        if settings.member is not None:
            raise SettingError(f"--member {settings.member} is of many networks, and this is one; leave it out")
        return None
    if settings.member is not None:
        return settings.member
    shares = dict(zip(model.numbers, model.shares(), strict=True))
    first = max(shares, key=shares.get)
    for key in ("weights", "saturate"):
        if getattr(settings, key):
            raise SettingError(f"--{key} changes one network, and these are several: add --member {first}")
    return first


@torch.no_grad()
def ensemble_of(model, x, y, names, shown):
    """The `Ensemble` of a model. x: raw rows. y: as batches have it. names: of the outputs. shown: which member's step
    is explained."""
    task = model.task
    target = task.encode(y)

    def loss(answers):
        return float(task.criterion(task.outputs_for(answers), target))

    each = zip(model.numbers, model.shares(), model.made_with(), model.answers_of_each(x), strict=True)
    members = [MemberAnswer(number, share, made, answers, loss(answers)) for number, share, made, answers in each]
    members.sort(key=lambda one: -one.share)
    mean, spread = model.answers(x, spread=True)
    names = [f"P({name})" for name in names] if task.has_classes else list(names)
    return Ensemble(model.equation, names, members, mean, spread, loss(mean), shown)
