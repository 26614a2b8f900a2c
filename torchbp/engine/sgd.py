"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

import math

import torch

from torchbp.engine.descent import Rule, add_gradient, descend, step
from torchbp.engine.layers import Layers
from torchbp.engine.losses import checked_loss
from torchbp.nn.mlp import is_count

inference_mode = torch._C._InferenceMode  # torch.inference_mode without its Python, which costs 2 µs


class SGD(torch.optim.SGD):
    r"""`torch.optim.SGD` of one network, or of an ensemble, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W;    V ← μ V + (1 − τ) G, and V = G in the first step;    W ← W − α V
        with nesterov      W ← W − α (G + μ V)

    Without momentum the update of a weight is one GEMM that accumulates, `W ← (1 − αλ) W − α dZᵀ A`; with it,
    `V ← μ V + (1 − τ) dZᵀ A` is one. `step`, `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of Linear, Sigmoid, Tanh and ReLU, ours or torch's.
        lr: α. momentum: μ. weight_decay: λ. Of an ensemble each may be a list or tensor of a number for each member.
        dampening: τ. nesterov: as in `torch.optim.SGD`.
        loss: as in `torchbp.backprop`.
        chunk: how many members of an ensemble go through a step at once, which bounds its memory; None is all.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported.
        ValueError: a number that is negative or not finite, or as many as there are not members.

    Example:
        >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1), lr=0.5)
        >>> loss = optimizer.backprop_step(torch.randn(32, 30), torch.ones(32, 1))
        >>> lr = [0.1, 0.2, 0.5, 1.0]
        >>> losses = torchbp.SGD(torchbp.nn.MLP(30, 16, 1, members=4), lr=lr).backprop_step(
        ...     torch.randn(32, 30), torch.ones(32, 1)
        ... )  # (4)
    """

    def __init__(
        self, model, lr=1e-3, momentum=0, weight_decay=0, dampening=0, nesterov=False, loss=None, chunk=None
    ):
        layers = Layers(model)
        if chunk is not None and (layers.members is None or not is_count(chunk)):
            raise ValueError(f"chunk={chunk!r} must be a positive number of members of an ensemble")
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        p = next(model.parameters())
        of_each = {
            name: of_each_member(name, value, layers.members, p)
            for name, value in numbers.items()
            if isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.dim())
        }
        for name, values in of_each.items():
            numbers[name] = float(values.max())  # what torch's constructor checks
        super().__init__(model.parameters(), dampening=dampening, nesterov=nesterov, **numbers)
        for group in (self.defaults, *self.param_groups):
            group.update(of_each)
            if "lr" in of_each:  # schedulers change one number, a factor then
                group.update(lr=1.0, lr_of_members=of_each["lr"])
        self.model, self.layers, self.loss, self.chunk = model, layers, checked_loss(loss), chunk

    def __getstate__(self):
        return super().__getstate__() | {"model": self.model, "loss": self.loss, "chunk": self.chunk}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "model" in state:  # a copy or a pickle, and not load_state_dict
            self.layers = Layers(self.model)

    def backprop_step(self, x, y):
        """One step of gradient descent on the rows x, y. It neither reads nor writes `.grad`.

        Args:
            x: `(…, in_features)`, the dtype and device of the model; of an ensemble `(N, in_features)`, rows that all
                members share, or `(E, N, in_features)`, those of each.
            y: the target, in the shape of the model's output; of an ensemble it may be shared too.

        Returns:
            L of before the step, a scalar tensor; of an ensemble (E), of each member its own. Reading it is the
            caller's, so that a GPU is not waited for; it is an inference tensor, which `.clone()` makes a usual one.

        Raises:
            TypeError: a hook was added.
            ValueError, RuntimeError: shapes or dtypes that do not fit.
            FloatingPointError: under `torch.autograd.detect_anomaly`, nan or inf in x, or of the layer that it names;
                no parameter has changed then.
        """
        layers = self.layers
        layers.check_hooks()
        parameters = layers.parameters()
        rules = self.rules(parameters)
        with inference_mode(True):  # where every operation is cheaper than under no_grad
            if self.chunk is None:
                value = step(layers, self.loss, parameters, rules, x, y)
            else:
                value = self.in_chunks(parameters, rules, x, y)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def in_chunks(self, parameters, rules, x, y):
        layers, values = self.layers, []
        for members in layers.chunks(self.chunk):
            of_chunk = [tuple(p if p is None else p[members] for p in pair) for pair in parameters]
            rules_of = [tuple(rule if rule is None else rule.of(members) for rule in pair) for pair in rules]
            rows = (t[members] if t.dim() == 3 else t for t in (x, y))
            values.append(step(layers, self.loss, of_chunk, rules_of, *rows))
        return torch.cat(values)

    @torch.no_grad()
    def step(self, closure=None):
        """`torch.optim.SGD.step`, and the same for the members of an ensemble that each have numbers of their own."""
        groups = self.param_groups
        if not any(isinstance(v, torch.Tensor) and v.dim() for group in groups for v in group.values()):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in groups:
            for p in group["params"]:
                if p.grad is not None:
                    descend(p, self.rule(p, group), 1.0, add_gradient, p.grad, None)
        return loss

    def rules(self, parameters):
        """Of each layer the rules of W and b, None for a parameter that is not there or does not learn."""
        if len(self.param_groups) > 1:
            groups = {p: group for group in self.param_groups for p in group["params"]}
            return [tuple(self.rule(p, groups.get(p)) for p in pair) for pair in parameters]
        (group,) = self.param_groups
        if isinstance(momentum := group["momentum"], torch.Tensor) or momentum:
            return [(self.rule(w, group), self.rule(b, group)) for w, b in parameters]
        rule = plain(group)
        return [
            (rule if w.requires_grad else None, rule if b is not None and b.requires_grad else None)
            for w, b in parameters
        ]

    def rule(self, p, group):
        if p is None or not p.requires_grad or group is None:
            return None
        rule = plain(group)
        momentum = group["momentum"]
        if not (isinstance(momentum, torch.Tensor) or momentum):
            return rule
        ahead = momentum if group["nesterov"] else None
        velocity = self.state[p].get("momentum_buffer")
        if velocity is None:
            velocity = self.state[p]["momentum_buffer"] = torch.zeros_like(p, requires_grad=False)
            return rule._replace(velocity=velocity, ahead=ahead)
        return rule._replace(velocity=velocity, keep=momentum, share=1 - group["dampening"], ahead=ahead)


def plain(group):
    """The rule of a group without momentum."""
    lr, decay = group["lr"], group["weight_decay"]
    if "lr_of_members" in group:
        lr = lr * group["lr_of_members"]
    decays = isinstance(decay, torch.Tensor) or decay
    return Rule(-lr, 1 - lr * decay if decays else 1, decay)


def of_each_member(name, value, members, p):
    """A tensor of a number for each member, as the parameter p is.

    Raises:
        ValueError: another number of numbers, or one that is negative or not finite.
    """
    values = torch.as_tensor(value, dtype=p.dtype, device=p.device).clone()
    if values.shape != (members,):
        of = "one network, not of an ensemble" if members is None else f"{members} members"
        raise ValueError(f"{name} has {values.numel()} numbers; the model is of {of}")
    for number in values.tolist():
        if not 0 <= number < math.inf:
            raise ValueError(f"{name}={number} must be a number ≥ 0")
    return values
