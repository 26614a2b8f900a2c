"""The model: one network, whose parameters are real numbers of one dtype on one device, and whose layers fit."""

import itertools

from torchbp.engine.network import Network
from torchbp.nn.mlp import unstack


def member_of(model, member):
    """The member of an ensemble, by its number from 1; any other model itself.

    Raises:
        TypeError: an ensemble without `member`, or a single network with it. ValueError: there is no such member.
    """
    members = Network(model).members
    if members is None and member is None:
        return model
    if member is None:
        raise TypeError(f"the model is an ensemble of {members} networks; explain one of them: member=1 to {members}")
    if members is None:
        raise TypeError(f"member={member!r}: the model is a single network; leave member out")
    if isinstance(member, bool) or member not in range(1, members + 1):
        raise ValueError(f"member={member!r}: the ensemble has the members 1 to {members}")
    return unstack(model)[member - 1]


def check_parameters(chain):
    """Raises where the parameters are not of one real dtype on one device, or the layers do not fit one another."""
    first_name, first = next(iter(chain.start.items()))
    for name, p in chain.start.items():
        key = chain.keys[name]
        if p.is_meta:
            raise ValueError(f"{key} is on the device meta, and holds no numbers; make the model on another one")
        if not p.is_floating_point():
            raise TypeError(f"{key} is {p.dtype}; explain takes real numbers: model.double()")
        if (p.dtype, p.device) != (first.dtype, first.device):
            raise ValueError(
                f"{key} is {p.dtype} on {p.device}, and {chain.keys[first_name]} {first.dtype} on {first.device}; "
                "bring the model to one dtype and device with model.to(…)"
            )
        if not p.numel():
            raise ValueError(f"{key} has the shape {tuple(p.shape)}: a layer without numbers computes nothing")
    sized = [(step, *widths(step)) for step in chain.layers if widths(step)]
    for (below, _, gives), (above, takes, _) in itertools.pairwise(sized):
        between = chain.steps[chain.steps.index(below) + 1 : chain.steps.index(above)]
        if gives != takes and all(step.is_activation for step in between):
            raise ValueError(
                f"the layers do not fit: {below.described()} gives {gives} numbers, and {above.described()} "
                f"takes {takes}"
            )


def widths(step):
    """(in_features, out_features) of a layer that has these attributes, otherwise None."""
    found = tuple(getattr(step.module, name, None) for name in ("in_features", "out_features"))
    return None if None in found else found
