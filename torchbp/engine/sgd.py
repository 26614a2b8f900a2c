"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

import math

import torch

from torchbp.engine.captured import CapturedStep
from torchbp.engine.compiled import CompiledSteps
from torchbp.engine.descent import Rule, add_gradient, descend, step
from torchbp.engine.fit import fit
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
        compile: whether `backprop_steps` and `fit` compile their steps into one graph, for each shape of the rows anew:
            some seconds at first, then a third of the time where the network is small. It needs a C++ compiler.
        capture: whether `backprop_step` is a CUDA graph, for each shape of the rows anew.

    `active`, None or a tensor of a bool for each member, says which of them descend; the others keep their weights.

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
        self,
        model,
        lr=1e-3,
        momentum=0,
        weight_decay=0,
        dampening=0,
        nesterov=False,
        loss=None,
        chunk=None,
        compile=False,
        capture=False,
    ):
        layers = Layers(model)
        if chunk is not None and (layers.members is None or not is_count(chunk)):
            raise ValueError(f"chunk={chunk!r} must be a positive number of members of an ensemble")
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        p = next(model.parameters())
        if capture and not p.is_cuda:
            raise ValueError(
                f"capture=True makes a CUDA graph, and the model is on {p.device}; move it, or leave it out"
            )
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
        self.own = {"model": model, "loss": checked_loss(loss), "chunk": chunk, "compile": compile, "capture": capture}
        self.prepare()

    def prepare(self):
        self.layers, self.loss, self.chunk = Layers(self.own["model"]), self.own["loss"], self.own["chunk"]
        self.active = None
        self.captured = CapturedStep(self.run) if self.own["capture"] else None
        self.compiled = CompiledSteps(self.own["model"], self.loss) if self.own["compile"] else None

    def __getstate__(self):
        return super().__getstate__() | {"own": self.own}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "own" in state:  # a copy or a pickle, and not load_state_dict
            self.prepare()

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
        layers.check()
        layers.strict = torch.is_anomaly_enabled()
        run = self.run if self.captured is None or layers.strict or self.is_first() else self.captured
        parameters = layers.parameters()
        value = run(parameters, self.rules(parameters), x, y)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def run(self, parameters, rules, x, y):
        with inference_mode(True):  # where every operation is cheaper than under no_grad
            if self.chunk is None:
                return step(self.layers, self.loss, parameters, rules, x, y)
            return self.in_chunks(self.step_of_chunk, parameters, rules, x, y)

    def backprop_steps(self, x, y):
        """A step on each of the batches x[0], x[1], …; all in one compiled graph, where `compile` was asked for.

        Args:
            x: `(K, N, in_features)`, the rows of K steps; of an ensemble also `(K, E, N, in_features)`.
            y: the targets, K of them.

        Returns:
            The K losses, `(K)` or `(K, E)`, as `backprop_step` returns each.

        Raises: as `backprop_step` does.
        """
        if self.compiled is None or torch.is_anomaly_enabled() or not len(x):
            losses = [self.backprop_step(*rows) for rows in zip(x, y, strict=True)]
            return torch.stack(losses) if losses else x.new_zeros(0)
        self.layers.check()
        if self.is_first():  # the first step of a velocity has a rule of its own
            return torch.cat([self.backprop_step(x[0], y[0])[None], self.backprop_steps(x[1:], y[1:])])
        parameters = self.layers.parameters()
        rules = self.rules(parameters)
        if self.chunk is None:
            values = self.compiled(parameters, rules, x, y)
        else:
            values = self.in_chunks(self.compiled, parameters, rules, x, y)
        self._opt_called = True
        return values

    def fit(
        self,
        x,
        y,
        *,
        batch_size=32,
        epochs=100,
        shuffle=True,
        bagging=False,
        generator=None,
        tol=1e-4,
        patience=20,
        min_grad_norm=0.0,
        progress=None,
    ):
        """Descend until the loss reaches its minimum, on rows in memory.

        One network stops where its loss, the mean over an epoch, has not fallen by more than `tol` in `patience`
        epochs, or where ‖∇L‖₂ is under `min_grad_norm` at an epoch's end. Each member of an ensemble does so on its
        own: it keeps its weights from then on, and the others go on.

        Args:
            x, y: `(N, in_features)` and `(N, outputs)`, of the dtype and device of the model; of an ensemble also
                `(E, N, …)`, rows of each member's own.
            batch_size: rows of a step; an epoch's last one has what is left.
            epochs: at most so many times over all rows.
            shuffle: whether each epoch has an order of its own, the same for all members.
            bagging: whether each member has N rows of its own, drawn with replacement, once.
            generator: a `torch.Generator` of the CPU, for the order and the bags; None is torch's global one.
            progress: a bar on stderr: None on a terminal if it takes more than two seconds, True, or False.

        Returns:
            The history of the loss, float64 on the CPU, `(epochs)` or `(epochs, E)`. `optimizer.minimum` says of each
            network why it stopped and how many `epochs` it descended.

        Raises:
            ValueError: an argument out of range, rows that do not fit, or nan or inf in them, with their place.
            FloatingPointError: a loss that is no finite number any more, with the layer; where members remain that go
                on, it is a warning that names the others.

        Example:
            >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1, members=8), lr=0.5)
            >>> history = optimizer.fit(torch.randn(256, 30), torch.rand(256, 1).round(), epochs=10)  # (10, 8)
        """
        return fit(self, x, y, batch_size, epochs, shuffle, bagging, generator, tol, patience, min_grad_norm, progress)

    def step_of_chunk(self, parameters, rules, x, y):
        return step(self.layers, self.loss, parameters, rules, x, y)

    def in_chunks(self, run, parameters, rules, x, y):
        """What `run` gives, members after members, each chunk with its own share of everything."""
        values = []
        for start in range(0, self.layers.members, self.chunk):
            members = slice(start, start + self.chunk)
            of_chunk = [tuple(p if p is None else p[members] for p in pair) for pair in parameters]
            rules_of = [tuple(rule if rule is None else rule.of(members) for rule in pair) for pair in rules]
            shared = 2 if run == self.step_of_chunk else 3  # dimensions of rows that all members have
            rows = (t if t.dim() == shared else t[..., members, :, :] for t in (x, y))
            values.append(run(of_chunk, rules_of, *rows))
        return torch.cat(values, -1)

    def is_first(self):
        """Whether a parameter that has momentum is yet to make its first step."""
        return any(
            p.requires_grad and "momentum_buffer" not in self.state.get(p, ())
            for group in self.param_groups
            if has(group["momentum"])
            for p in group["params"]
        )

    @torch.no_grad()
    def step(self, closure=None):
        """`torch.optim.SGD.step`, and the same for the members of an ensemble that each have numbers of their own."""
        groups = self.param_groups
        own = any(isinstance(v, torch.Tensor) and v.dim() for group in groups for v in group.values())
        if not own and self.active is None:
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
        if has(group["momentum"]):
            return [(self.rule(w, group), self.rule(b, group)) for w, b in parameters]
        rule = self.plain(group)  # of all of them
        return [
            (rule if w.requires_grad else None, rule if b is not None and b.requires_grad else None)
            for w, b in parameters
        ]

    def rule(self, p, group):
        if p is None or not p.requires_grad or group is None:
            return None
        rule = self.plain(group)
        momentum = like(p, group["momentum"])
        if not has(momentum):
            return rule
        ahead = momentum if group["nesterov"] else None
        velocity = self.state[p].get("momentum_buffer")
        if velocity is None:
            velocity = self.state[p]["momentum_buffer"] = torch.zeros_like(p, requires_grad=False)
            return rule._replace(velocity=velocity, ahead=ahead)
        share = 1 - group["dampening"]
        if share != 1 and isinstance(momentum, torch.Tensor):  # without momentum nothing is dampened
            share = torch.where(momentum == 0, 1, momentum.new_full((), share))
        return rule._replace(velocity=velocity, keep=momentum, share=share, ahead=ahead)

    def plain(self, group):
        """The rule of a group without momentum."""
        lr, decay = group["lr"], group["weight_decay"]
        if "lr_of_members" in group or self.active is not None:
            p = group["params"][0]
            for factor in (group.get("lr_of_members"), self.active):
                lr = lr if factor is None else lr * like(p, factor)
            decay = like(p, decay)
        return Rule(-lr, 1 - lr * decay if has(decay) else 1, decay)


def like(p, number):
    """The number; a tensor of one for each member in p's dtype and on its device, wherever the model has gone since."""
    return number.to(p) if isinstance(number, torch.Tensor) else number


def has(number):
    """Whether a momentum or a weight decay is there; that of an ensemble's members is, and is not read."""
    return isinstance(number, torch.Tensor) or number


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
