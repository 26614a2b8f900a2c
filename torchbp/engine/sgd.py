"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

import functools

import torch

from torchbp.engine.captured import CapturedStep
from torchbp.engine.compiled import CompiledSteps
from torchbp.engine.descent import add_gradient, descend, step
from torchbp.engine.fit import fit
from torchbp.engine.layers import Layers
from torchbp.engine.losses import checked_loss
from torchbp.engine.rules import NUMBERS, check_number, has, is_of_each, of_each_member, rule_of, rules_of
from torchbp.nn.mlp import is_count

OF_EACH = (*NUMBERS, "lr_of_members")
# torch.optim wraps the step of every class in its hooks: ours has them already
torchs_step = getattr(torch.optim.SGD.step, "__wrapped__", torch.optim.SGD.step)
inference_mode = torch._C._InferenceMode  # torch.inference_mode without its Python, which costs 2 µs


class SGD(torch.optim.SGD):
    r"""`torch.optim.SGD` of one network, or of an ensemble, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W;    V ← μ V + (1 − τ) G, and V = G in the first step;    W ← W − α V
        with nesterov      W ← W − α (G + μ V)

    Without momentum the update of a weight is one GEMM that accumulates, `W ← (1 − αλ) W − α dZᵀ A`; with it,
    `V ← μ V + (1 − τ) dZᵀ A` is one. `step`, `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of Linear, Sigmoid, Tanh and ReLU, ours or torch's.
        lr: α. momentum: μ. dampening: τ. weight_decay: λ. nesterov: as in `torch.optim.SGD`, and in its order. Of an
            ensemble lr, momentum and weight_decay may each be a list or tensor of a number for each member. A group
            then holds those of lr as `lr_of_members`, and its lr is their factor, 1, which schedulers change.
        loss: as in `torchbp.backprop`.
        chunk: how many members of an ensemble go through a step at once, which bounds its memory; None is all.
        compile: whether `backprop_steps` and `fit` compile their steps into one graph, for each shape of the rows anew:
            some seconds at first, and then less time where the network is small, by `torchbp bench step`. It needs a
            C++ compiler.
        capture: whether `backprop_step` is a CUDA graph, for each shape of the rows anew. Of these graphs, and of the
            programs of `compile`, the 32 that were used last are kept.

    `active`, None or a tensor of a bool for each member, says which of them descend. The others keep their weights and
    velocities, if their rows are finite numbers.

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
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        loss=None,
        chunk=None,
        compile=False,
        capture=False,
    ):
        self.own = {"model": model, "loss": checked_loss(loss), "chunk": chunk, "compile": compile, "capture": capture}
        self.prepare()
        layers = self.layers
        if chunk is not None and (layers.members is None or not is_count(chunk)):
            raise ValueError(f"chunk={chunk!r} must be a positive number of members of an ensemble")
        held = [p for pair in layers.parameters() for p in pair if p is not None]
        if len(set(held)) < len(held):
            raise TypeError(
                "two layers share a parameter, which the step would change before it has gone back through both; use "
                "torchbp.backprop and torch.optim.SGD"
            )
        if capture and not held[0].is_cuda:
            raise ValueError(
                f"capture=True makes a CUDA graph, and the model is on {held[0].device}; move it there first"
            )
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        of_each = self.numbers_of_each(numbers)
        # torch's constructor checks the largest
        numbers |= {name: of_each[name].max().item() for name in NUMBERS if is_of_each(numbers[name])}
        super().__init__(model.parameters(), dampening=dampening, nesterov=nesterov, **numbers)
        for group in (self.defaults, *self.param_groups):
            group.update(as_factor(of_each))

    def prepare(self):
        own = self.own
        self.layers, self.loss, self.chunk = Layers(own["model"]), own["loss"], own["chunk"]
        self._active = own.get("active")
        self.captured = CapturedStep(self.run, self.layers, self.loss) if own["capture"] else None
        self.compiled = CompiledSteps(own["model"], self.loss) if own["compile"] else None

    def numbers_of_each(self, numbers):
        """Those of these numbers of which each member has its own, as tensors; the others are checked."""
        device = self.layers.tables[0]["weight"].device
        of_each = {}
        for name in NUMBERS:
            value = numbers.get(name)
            if is_of_each(value):
                of_each[name] = of_each_member(name, value, self.layers.members, device)
            elif value is not None and not isinstance(value, torch.Tensor):
                check_number(name, value)
        return of_each

    def add_param_group(self, param_group):
        """As torch's; lr, momentum and weight_decay may be lists here too."""
        numbers = {name: param_group[name] for name in NUMBERS if name in param_group}
        if "lr" in numbers and not is_of_each(numbers["lr"]):
            param_group = {"lr_of_members": None, **param_group}
        super().add_param_group(param_group | as_factor(self.numbers_of_each(numbers)))

    @property
    def active(self):
        return self._active

    @active.setter
    def active(self, which):
        members = self.layers.members
        if which is not None and (members is None or which.shape != (members,) or which.dtype is not torch.bool):
            raise ValueError(
                f"active is of the shape {tuple(which.shape)} and {which.dtype}; give None or ({members},) bools"
            )
        self._active = self.own["active"] = which

    def __getstate__(self):
        return super().__getstate__() | {"own": self.own}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "own" in state:  # a copy or a pickle, and not load_state_dict
            self.prepare()
        for group in self.param_groups:
            for name, value in group.items():
                if is_of_each(value) and isinstance(value, torch.Tensor):
                    if len(value) != self.layers.members:
                        raise ValueError(
                            f"{name} of the state is of {len(value)} members, the model of {self.layers.members}"
                        )
                    group[name] = value.to(group["params"][0].device)  # of a file; torch moves the velocities alone

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
                no parameter has changed then (with `chunk`: of that chunk).
        """
        layers = self.layers
        self.check()
        layers.strict = torch.is_anomaly_enabled()
        run = self.run if self.captured is None or layers.strict or self.is_first() else self.captured
        return self.made(run, x, y)

    def check(self):
        """Raises a TypeError for a hook that the step would not call, or another model than at the start."""
        self.layers.check()
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            raise TypeError("the optimizer has a hook of its step, which backprop_step would not call; use step")

    def made(self, run, x, y):
        """What `run` returns, a step or several. A step that fails begins no velocity."""
        parameters = self.layers.parameters()
        rules, begun = rules_of(self, parameters)
        value = run(parameters, rules, x, y)
        self.begin(begun)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def begin(self, velocities):
        for p, velocity in velocities.items():
            self.state[p]["momentum_buffer"] = velocity

    def run(self, parameters, rules, x, y):
        with inference_mode(True):  # where every operation is cheaper than under no_grad
            if self.chunk is None:
                return step(self.layers, self.loss, parameters, rules, x, y)
            return self.in_chunks(functools.partial(step, self.layers, self.loss), 2, parameters, rules, x, y)

    def backprop_steps(self, x, y):
        """A step on each of the batches x[0], x[1], …; all in one compiled graph, where `compile` was asked for.

        Args:
            x: `(K, N, in_features)`, the rows of K steps; of an ensemble also `(K, E, N, in_features)`.
            y: the targets, K of them.

        Returns:
            The K losses, `(K)` or `(K, E)`, as `backprop_step` returns each.

        Raises: as `backprop_step` does; a RuntimeError where torch.compile has no compiler, or a path with a space.
        """
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} batches and y {len(y)}; give as many")
        if not len(x):
            return x.new_zeros(0) if self.layers.members is None else x.new_zeros(0, self.layers.members)
        # the first step of a velocity has a rule of its own, and is not worth a graph
        if self.compiled is None or torch.is_anomaly_enabled() or len(x) == 1 or self.is_first():
            return torch.stack([self.backprop_step(*rows) for rows in zip(x, y, strict=True)])
        self.check()
        run = self.compiled if self.chunk is None else functools.partial(self.in_chunks, self.compiled, 3)
        return self.made(run, x, y)

    def in_chunks(self, run, shared, parameters, rules, x, y):
        """What `run` gives, members after members, each chunk with its own share of everything.

        `shared` is the number of dimensions of rows that all members have.
        """
        members = self.layers.members
        for name, t in (("x", x), ("y", y)):
            if t.dim() not in (shared, shared + 1) or (t.dim() > shared and t.shape[-3] != members):
                raise ValueError(
                    f"{name} has the shape {tuple(t.shape)}; give rows for all, or of each of {members} members"
                )
        values = []
        for part in self.layers.chunks(self.chunk):
            of_chunk = [tuple(p if p is None else p[part] for p in pair) for pair in parameters]
            rules_of_chunk = [tuple(rule if rule is None else rule.of(part) for rule in pair) for pair in rules]
            rows = (t if t.dim() == shared else t[..., part, :, :] for t in (x, y))
            values.append(run(of_chunk, rules_of_chunk, *rows))
        return torch.cat(values, -1)

    def is_first(self):
        """Whether a parameter that has momentum is yet to make its first step."""
        return any(
            p.requires_grad and "momentum_buffer" not in self.state.get(p, ())
            for group in self.param_groups
            if has(group["momentum"])
            for p in group["params"]
        )

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

    @torch.no_grad()
    def step(self, closure=None):
        """`torch.optim.SGD.step`, and the same for the members of an ensemble that each have numbers of their own."""
        groups = self.param_groups
        if self.active is None and not any(is_of_each(group.get(name)) for group in groups for name in OF_EACH):
            return torchs_step(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        begun = {}
        for group in groups:
            for p in group["params"]:
                if p.grad is not None:
                    descend(p, rule_of(p, group, self, begun), 1.0, add_gradient, p.grad, None)
        self.begin(begun)
        return loss


def as_factor(of_each):
    """These numbers as a group holds them: schedulers change one lr, which is a factor of the members' own."""
    return of_each | ({"lr": 1.0, "lr_of_members": of_each["lr"]} if "lr" in of_each else {})
