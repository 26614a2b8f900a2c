"""Whether the tensors of a checkpoint are those of the network that its settings describe: shapes, types, values."""

import torch

from torchbp.training.errors import UserError

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_shapes(empty, state):
    """Compare a checkpoint's tensors with those of its network, which is on the device meta and takes no memory.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; or it is not stored number by number, so that a
            small file could stand for more memory than there is.
    """
    expected = empty.state_dict()
    for name in [*expected, *state]:
        if name not in state or name not in expected:
            raise ValueError(f"{name} is {'missing' if name not in state else 'not one of its tensors'}")
    for name, like in expected.items():
        tensor = state[name]
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{name} is no tensor of plain numbers")
        if tensor.shape != like.shape:
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, but its settings say {tuple(like.shape)}")
        if tensor.is_quantized or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{name} does not store each of its numbers")


def check_numbers(empty, state, path):
    """Raise a UserError that names the first tensor whose numbers are not real or not finite."""
    for name, like in empty.state_dict().items():
        dtype = state[name].dtype
        if dtype not in (REAL if like.is_floating_point() else (like.dtype,)):
            kind = "complex" if dtype.is_complex else str(dtype).removeprefix("torch.")
            wanted = "real ones" if like.is_floating_point() else f"{like.dtype}".removeprefix("torch.")
            raise UserError(
                f"{path}: {name} holds {kind} numbers, and a network needs {wanted}; use another checkpoint"
            )
    if name := first_not_finite({name: state[name].to(like.dtype) for name, like in empty.state_dict().items()}):
        raise UserError(
            f"{path}: {name} holds nan or inf, as after a training that diverged; train with a smaller --model.lr"
        )


def check_optimizer_states(states, net, path):
    """Raise a UserError if what a checkpoint's `optimizer_states` keep of a parameter does not fit it."""
    parameters = list(net.parameters())
    try:
        buffers = [
            (number, name, value)
            for state in states
            for number, of in state["state"].items()
            for name, value in of.items()
        ]
        fit = all(
            value is None or (value.is_floating_point() and value.shape in shapes_of(name, parameters[number], net))
            for number, name, value in buffers
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        fit = False
    if not fit:
        raise UserError(f"{path} cannot be resumed: its optimizer_states do not fit the network's parameters")


def shapes_of(name, p, net):
    """The shapes that this part of an optimizer's state may have: Adam counts steps, once or for each member."""
    members = getattr(net[0], "members", None)
    return ((), (members,)) if name == "step" else (p.shape,)


def first_not_finite(state):
    """The name of the first tensor with a number that is not finite; None if there is none.

    Of an ensemble, only the members that answer count. A constant feature has the deviation inf, which is allowed.
    """
    chosen = state.get("chosen")
    if chosen is not None and not chosen.any():
        return "chosen"
    for name, tensor in state.items():
        if name in ("chosen", "best_scores", "best_epoch") or name.startswith("plateau."):
            continue
        if chosen is not None and name.startswith("net."):
            tensor = tensor[chosen]
        if not (tensor > 0 if name == "scaling.scale" else tensor.isfinite()).all():
            return name
    return None
