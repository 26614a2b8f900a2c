"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchbp.engine.compiled import CompiledSteps
from torchbp.engine.cuda_graph import CapturedStep
from torchbp.engine.fit import History, fit
from torchbp.engine.fit_arguments import row_dims_of
from torchbp.engine.losses import checked_loss
from torchbp.engine.network import Network
from torchbp.engine.step import add_gradient, descend, step
from torchbp.engine.update_rule import (
    PER_MEMBER,
    check_number,
    is_per_member,
    is_used,
    per_member_tensor,
    update_rule,
    update_rules,
)
from torchbp.nn._validation import is_positive_int

# torch.optim wraps the step of every class in its hooks: ours has them already
torch_step = getattr(torch.optim.SGD.step, "__wrapped__", torch.optim.SGD.step)
inference_mode = torch._C._InferenceMode  # torch.inference_mode without its Python, which costs 2 µs


class SGD(torch.optim.SGD):
    r"""`torch.optim.SGD` of one network, or of an ensemble, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W;    V ← μ V + (1 − τ) G, and V = G in the first step;    W ← W − α V
        with nesterov      W ← W − α (G + μ V)

    Without momentum the update of a weight is one GEMM that accumulates, `W ← (1 − αλ) W − α dZᵀ A`; with it,
    `V ← μ V + (1 − τ) dZᵀ A` is one. `step`, `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of layers and activations that have a rule, ours or torch's.
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
        model: torch.nn.Module,
        lr: float | Sequence[float] | torch.Tensor = 1e-3,
        momentum: float | Sequence[float] | torch.Tensor = 0,
        dampening: float = 0,
        weight_decay: float | Sequence[float] | torch.Tensor = 0,
        nesterov: bool = False,
        *,
        loss: torch.nn.Module | None = None,
        chunk: int | None = None,
        compile: bool = False,
        capture: bool = False,
    ) -> None:
        self._settings = {
            "model": model,
            "loss": checked_loss(loss),
            "chunk": chunk,
            "compile": compile,
            "capture": capture,
        }
        self._prepare()
        network = self.network
        if chunk is not None and (network.members is None or not is_positive_int(chunk)):
            raise ValueError(f"chunk={chunk!r} must be a positive number of members of an ensemble")
        held = [p for of_layer in network.parameters() for p in of_layer if p is not None]
        if len(set(held)) < len(held):
            raise TypeError(
                "two layers share a parameter, which the step would change before it has gone back through both; use "
                "torchbp.backprop and torch.optim.SGD"
            )
        if capture and not held[0].is_cuda:
            raise ValueError(
                f"capture=True makes a CUDA graph, and the model is on {held[0].device}; move it there first"
            )
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        tensors = self._per_member_options(options)
        # torch's constructor checks the largest
        options |= {name: tensors[name].max().item() for name in PER_MEMBER if is_per_member(options[name])}
        super().__init__(model.parameters(), dampening=dampening, nesterov=nesterov, **options)
        for group in (self.defaults, *self.param_groups):
            group.update(lr_as_factor(tensors))

    def _prepare(self):
        settings = self._settings
        self.network, self.loss, self.chunk = Network(settings["model"]), settings["loss"], settings["chunk"]
        self._active = settings.get("active")
        self.captured = CapturedStep(self._run, self.network, self.loss) if settings["capture"] else None
        self.compiled = CompiledSteps(settings["model"], self.loss) if settings["compile"] else None

    def _per_member_options(self, options):
        """The options with a number for each member, as tensors; the others are checked."""
        device, tensors = self.network.first_parameter.device, {}
        for name in PER_MEMBER:
            value = options.get(name)
            if is_per_member(value):
                tensors[name] = per_member_tensor(name, value, self.network.members, device)
            elif value is not None and not isinstance(value, torch.Tensor):
                check_number(name, value)
        return tensors

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; lr, momentum and weight_decay may be lists here too."""
        options = {name: param_group[name] for name in PER_MEMBER if name in param_group}
        if "lr" in options and not is_per_member(options["lr"]):
            param_group = {"lr_of_members": None, **param_group}
        super().add_param_group(param_group | lr_as_factor(self._per_member_options(options)))

    @property
    def active(self):
        return self._active

    @active.setter
    def active(self, which):
        members = self.network.members
        if which is not None and (members is None or which.shape != (members,) or which.dtype is not torch.bool):
            raise ValueError(
                f"active is of the shape {tuple(which.shape)} and {which.dtype}; give None or ({members},) bools"
            )
        self._active = self._settings["active"] = which

    def __getstate__(self):
        return super().__getstate__() | {"_settings": self._settings}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_settings" in state:  # a copy or a pickle, and not load_state_dict
            self._prepare()
        for group in self.param_groups:
            for name, value in group.items():
                if is_per_member(value) and isinstance(value, torch.Tensor):
                    if len(value) != self.network.members:
                        raise ValueError(
                            f"{name} of the state is of {len(value)} members, the model of {self.network.members}"
                        )
                    group[name] = value.to(group["params"][0].device)  # torch moves only the momentum buffers

    def backprop_step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
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
        network = self.network
        self._check()
        network.strict = torch.is_anomaly_enabled()
        run = self._run if self.captured is None or network.strict or self._is_first() else self.captured
        return self._run_and_commit(run, x, y)

    def _check(self):
        """Raises a TypeError for a hook that the step would not call, or another model than at the start."""
        self.network.check()
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            raise TypeError("the optimizer has a hook of its step, which backprop_step would not call; use step")

    def _run_and_commit(self, run, x, y):
        """Run one step or several. New momentum buffers are stored only if it succeeds."""
        parameters = self.network.parameters()
        rules, begun = update_rules(self, parameters)
        value = run(parameters, rules, x, y)
        self._store(begun)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def _store(self, buffers):
        for p, buffer in buffers.items():
            self.state[p]["momentum_buffer"] = buffer

    def _run(self, parameters, rules, x, y):
        with inference_mode(True):  # where every operation is cheaper than under no_grad
            if self.chunk is None:
                return step(self.network, self.loss, parameters, rules, x, y)
            return self._in_chunks(functools.partial(step, self.network, self.loss), 0, parameters, rules, x, y)

    def backprop_steps(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
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
            return x.new_zeros(0) if self.network.members is None else x.new_zeros(0, self.network.members)
        # the first step with momentum has another rule, and is not worth a graph
        if self.compiled is None or torch.is_anomaly_enabled() or len(x) == 1 or self._is_first():
            return torch.stack([self.backprop_step(*rows) for rows in zip(x, y, strict=True)])
        self._check()
        run = self.compiled if self.chunk is None else functools.partial(self._in_chunks, self.compiled, 1)
        return self._run_and_commit(run, x, y)

    def _in_chunks(self, run, steps, parameters, rules, x, y):
        """The losses of `run` on one chunk of members after the other.

        `steps` is the number of dimensions of the rows before that of the members: 1 where they are of several steps.
        """
        members, shared = self.network.members, (steps + 2, steps + 1 + row_dims_of(self.loss))
        for name, t, of_all in zip("xy", (x, y), shared, strict=True):
            if t.dim() not in (of_all, of_all + 1) or (t.dim() > of_all and t.shape[steps] != members):
                raise ValueError(
                    f"{name} has the shape {tuple(t.shape)}; give rows for all, or of each of {members} members"
                )
        values = []
        for chunk in self.network.chunks(self.chunk):
            of_chunk = [tuple(p if p is None else p[chunk] for p in of_layer) for of_layer in parameters]
            rules_of_chunk = [
                tuple(rule if rule is None else rule.of_members(chunk) for rule in of_layer) for of_layer in rules
            ]
            index = (slice(None), chunk) if steps else chunk
            rows = (t if t.dim() == of_all else t[index] for t, of_all in zip((x, y), shared, strict=True))
            with self.network.of_members(chunk):
                values.append(run(of_chunk, rules_of_chunk, *rows))
        return torch.cat(values, -1)

    def _is_first(self):
        """Whether the next step is the first one of a parameter with momentum."""
        return any(
            p.requires_grad and "momentum_buffer" not in self.state.get(p, ())
            for group in self.param_groups
            if is_used(group["momentum"])
            for p in group["params"]
        )

    def fit(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        batch_size: int = 32,
        max_epochs: int = 100,
        shuffle: bool = True,
        bagging: bool = False,
        rows: torch.Tensor | Sequence[Any] | None = None,
        validation: tuple[torch.Tensor, torch.Tensor] | str | None = None,
        generator: torch.Generator | None = None,
        min_delta: float = 1e-4,
        patience: int = 20,
        min_grad_norm: float = 0.0,
        progress: bool | None = None,
    ) -> torch.Tensor | History:
        """Descend until the loss reaches its minimum, on rows in memory.

        One network stops where its loss, the mean over an epoch, has not fallen by more than `min_delta` in `patience`
        epochs, or where ‖∇L‖₂ is under `min_grad_norm` at an epoch's end. Each member of an ensemble does so on its
        own: it keeps its weights from then on, and the others go on. With `validation` it is the loss over those rows
        that must fall, and at the end each network is as it was after the epoch in which it was lowest, with its
        weights and its momentum buffers.

        Args:
            x: `(N, in_features)`, of the dtype and device of the model; of an ensemble also `(E, N, in_features)`, rows
                of each member's own.
            y: `(N, outputs)`, real numbers; for a loss of classes `(N)`, int64; of an ensemble also `(E, N, …)`.
            batch_size: rows of a step; an epoch's last one has what is left.
            max_epochs: at most so many times over all rows.
            shuffle: whether each epoch has an order of its own, the same for all members.
            bagging: whether each member has N rows of its own, drawn with replacement, once.
            rows: those that are trained on: bools `(N)`, or the places of the rows. Of an ensemble bools `(E, N)`, or a
                list of the places of each member's rows, of any number; a member takes the steps that it would alone.
            validation: `(x, y)`, or "rest": the rows that `rows` or `bagging` leave out, of each member its own.
            generator: a `torch.Generator` of the CPU, for the order and the bags; None is torch's global one.
            progress: a bar on stderr: None on a terminal if it takes more than two seconds, True, or False.

        Returns:
            The history of the loss, float64 on the CPU, `(epochs)` or `(epochs, E)`; with `validation` a named tuple of
            two, `training` and `validation`. `print(optimizer.minimum)` says why it stopped, after how many epochs, and
            how low the loss was.

        Raises:
            ValueError: an argument out of range, rows that do not fit, or nan or inf in them, with their place.
            FloatingPointError: a loss that is no finite number any more, with the layer; where members remain that go
                on, it is a warning that names the others.

        Example:
            >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1, members=8), lr=0.5)
            >>> history = optimizer.fit(torch.randn(256, 30), torch.rand(256, 1).round(), max_epochs=10)  # (10, 8)
        """
        return fit(
            self,
            x,
            y,
            batch_size=batch_size,
            max_epochs=max_epochs,
            shuffle=shuffle,
            bagging=bagging,
            rows=rows,
            validation=validation,
            generator=generator,
            min_delta=min_delta,
            patience=patience,
            min_grad_norm=min_grad_norm,
            progress=progress,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """`torch.optim.SGD.step`, also for an ensemble whose members have different options."""
        groups = self.param_groups
        names = (*PER_MEMBER, "lr_of_members")
        if self.active is None and not any(is_per_member(group.get(name)) for group in groups for name in names):
            return torch_step(self, closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        begun = {}
        for group in groups:
            for p in group["params"]:
                if p.grad is not None:
                    descend(p, update_rule(p, group, self, begun), 1.0, add_gradient, p.grad, None)
        self._store(begun)
        return loss


def lr_as_factor(options):
    """Store the members' learning rates in `lr_of_members`; `lr` becomes a common factor, 1, that schedulers change."""
    return options | ({"lr": 1.0, "lr_of_members": options["lr"]} if "lr" in options else {})
