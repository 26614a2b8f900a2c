"""The optimizer of a network: torch's through autograd, the engine's for `engine: explicit` and for ensembles."""

import torch

from torchbp import engine

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, engine.SGD),
    "adam": (torch.optim.Adam, engine.Adam),
    "adamw": (torch.optim.AdamW, engine.AdamW),
}


def rates(h, members):
    """The learning rate: a number, or a float64 tensor `(E)` of one for each member, group by group."""
    if members and (isinstance(h.lr, list) or h.schedule == "plateau"):
        lr = h.lr if isinstance(h.lr, list) else [h.lr]
        return torch.tensor(lr, dtype=torch.float64).repeat_interleave(members // len(lr))
    return h.lr


def make_optimizer(net, h, members, loss):
    """The optimizer of the layers `net`, of the hyperparameters `h`. loss: what the engine descends on."""
    of_torch, of_engine = OPTIMIZERS[h.optimizer]
    settings = {"lr": rates(h, members), "weight_decay": h.weight_decay}
    if h.optimizer == "sgd":
        settings["momentum"] = h.momentum
    if h.engine == "autograd" and not members:
        return of_torch(net.parameters(), **settings)
    if h.engine == "explicit":
        settings |= {"max_grad_norm": h.clip, "compile": h.compile}
    else:  # it makes the steps of gradients from autograd
        settings["compile"] = False
    return of_engine(net, **settings, loss=loss)
