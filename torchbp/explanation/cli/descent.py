"""The update of the step: plain gradient descent, or the optimizer of the training with what it remembers."""

import torch

from torchbp.training.descent.optimizers import OPTIMIZERS

DESCENTS = "plain", "trained"


def optimizer_of(model, net, lr, states):
    """torch's optimizer with the settings of the training. `states` are the checkpoint's, or []."""
    h = model.hparams
    settings = {"lr": lr, "weight_decay": h.weight_decay}
    if h.optimizer == "sgd":
        settings["momentum"] = h.momentum
    optimizer = OPTIMIZERS[h.optimizer][0](net.parameters(), **settings)
    if len(states) == 1:
        for place, parameter in enumerate(net.parameters()):
            optimizer.state[parameter] = {
                name: value for name, value in states[0]["state"].get(place, {}).items() if torch.is_tensor(value)
            }
    return optimizer


def notes(model, settings, optimizer):
    """What the step does otherwise than the training does, and what y is where it is scaled."""
    h, found = model.hparams, ""
    if optimizer is not None:
        remembers = any(optimizer.state.values())
        found += f". The step is of {h.optimizer}{'' if remembers else ', which remembers no step before it'}"
    elif h.optimizer != "sgd" or h.momentum:
        of = h.optimizer if h.optimizer != "sgd" else "sgd with momentum"
        found += f". The step is of plain gradient descent, and not of {of}: --descent trained takes that"
    if h.task == "multiclass" and h.class_weight is not None:
        found += ". The loss is without the weights of the classes"
    if h.task == "regression":
        found += ". y is scaled: (y − mean)/deviation of the training rows"
    if h.dropout:
        found += f". Dropout's mask is drawn with seed {settings.seed_everything}"
    return found
