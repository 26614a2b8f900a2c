"""What `torchbp.SGD`, `torchbp.Adam` and `torchbp.AdamW` have in common: a step that goes forward, backward and
downhill at once, and holds no gradient."""

import functools

import torch

from torchbp.engine.fitting import pace
from torchbp.engine.fitting.fit_arguments import row_dims_of
from torchbp.engine.fitting.fit_method import FitMethod
from torchbp.engine.losses import has_value_of_steps, values_of_steps
from torchbp.engine.native.calls.compiled import CompiledSteps
from torchbp.engine.native.calls.single_step import SingleSteps
from torchbp.engine.network import Network
from torchbp.engine.network.rows import check_rows
from torchbp.engine.optimizers.cuda_graph import CapturedStep
from torchbp.engine.optimizers.lean_step import LeanStep
from torchbp.engine.optimizers.optimizer_options import OptimizerOptions
from torchbp.engine.optimizers.update_rule import update_rules
from torchbp.engine.step import step

inference_mode = torch._C._InferenceMode  # torch.inference_mode without its Python, which costs 2 µs


class EngineOptimizer(FitMethod, OptimizerOptions):
    """The base of the engine's optimizers.

    A subclass says by `_rule(p, group, begun)` how a parameter descends, and by `_rule_of_all(group)` how all do where
    one rule serves for them.
    """

    def _rule_of_all(self, group):
        return None

    def _prepare(self):
        settings = self._settings
        self.network, self.loss, self.chunk = Network(settings["model"]), settings["loss"], settings["chunk"]
        self.max_grad_norm = settings["max_grad_norm"]
        self._active = settings.get("active")
        self.captured = CapturedStep(self._run, self.network, self.loss) if settings["capture"] else None
        self.compiled = CompiledSteps(self) if settings["compile"] is True else None
        self._single_steps = 0  # of the engine
        self._lean, self._single = LeanStep(self), None

    def backprop_step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One step of gradient descent on the rows x, y. It neither reads nor writes `.grad`.

        Args:
            x: `(…, in_features)`, the dtype and device of the model; of an ensemble `(N, in_features)`, rows that all
                members share, or `(E, N, in_features)`, those of each.
            y: the target, in the shape of the model's output; of an ensemble it may be shared too.

        Returns:
            L of before the step, a scalar tensor; of an ensemble (E), of each member its own. Reading it is the
            caller's, so that a GPU is not waited for. It may be an inference tensor; `.clone()` makes a usual one.

        Raises:
            TypeError: a hook was added.
            ValueError, RuntimeError: shapes or dtypes that do not fit.
            FloatingPointError: under `torch.autograd.detect_anomaly`, nan or inf in x, or of the layer that it names;
                no parameter has changed then (with `chunk`: of that chunk).
        """
        if self.compiled is not None and (value := self._step_of_program(x, y)) is not None:
            return value
        self._single_steps += 1
        if self._single_steps == pace.MANY_STEPS:
            pace.compile_if_auto(self)
        try:
            return self._step_of_engine(x, y)
        except (RuntimeError, TypeError):
            check_rows(self.network, x)
            raise

    def _step_of_engine(self, x, y):
        self._check()
        if self._is_lean():
            parameters, rules, rate, step, begun = self._lean.prepared()
            with inference_mode(True):  # where every operation is cheaper than under no_grad
                value = step(parameters, rules, rate, x, y)
            return self._committed(begun, value)
        network = self.network
        network.strict = torch.is_anomaly_enabled()
        if self.captured is not None:
            self.captured.loss = self.loss
        run = self._run if self.captured is None or network.strict or self._is_first() else self.captured
        return self._run_and_commit(run, x, y)

    def _is_plain(self):
        """Whether a step is one of all members at once, not captured, and looks for no nan."""
        return self.captured is None and self.chunk is None and not torch.is_anomaly_enabled()

    def _is_lean(self):
        """Whether a step is also made layer by layer, without the norm of the whole gradient."""
        return self._is_plain() and self.max_grad_norm is None

    def _check(self):
        """Raises a TypeError for a hook that the step would not call, or another model than at the start."""
        self.network.check()
        if self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks:
            raise TypeError("the optimizer has a hook of its step, which backprop_step would not call; use step")

    def _run_and_commit(self, run, x, y):
        """Run one step or several. State that begins is stored only if it succeeds."""
        parameters = self.network.parameters()
        rules, begun = update_rules(self, parameters)
        return self._committed(begun, run(parameters, rules, x, y))

    def _committed(self, begun, value):
        if begun:
            self._store(begun)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def _store(self, begun):
        for p, state in begun.items():
            self.state[p].update(state)

    def _run(self, parameters, rules, x, y):
        with inference_mode(True):
            if self.chunk is None:
                return step(self.network, self.loss, parameters, rules, x, y, self.max_grad_norm)
            run = functools.partial(step, self.network, self.loss, max_norm=self.max_grad_norm)
            return self._in_chunks(run, 0, parameters, rules, x, y)

    def backprop_steps(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """A step on each of the batches x[0], x[1], …; in one call of a program, where `compile` was asked for.

        Args:
            x: `(K, N, in_features)`, the rows of K steps; of an ensemble also `(K, E, N, in_features)`.
            y: the targets, K of them.

        Returns:
            The K losses, `(K)` or `(K, E)`, as `backprop_step` returns each.

        Raises: as `backprop_step` does; with `compile=True` a TypeError for a layer or loss that has no form in C.
        """
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} batches and y {len(y)}; give as many")
        if not len(x):
            return x.new_zeros(0) if self.network.members is None else x.new_zeros(0, self.network.members)
        losses = self._steps_of_program(x, y)
        return self._steps_of_engine(x, y) if losses is None else losses

    def _steps_of_engine(self, x, y):
        together = len(x) > 1 and self._is_lean() and not self._is_first()
        if together and has_value_of_steps(self.loss, self.network.members):
            return self._lean_steps(x, y)
        return torch.stack([self._step_of_engine(*rows) for rows in zip(x, y, strict=True)])

    def _steps_of_program(self, x, y, count=None, places=None):
        """The losses of the steps on these rows, as `CompiledSteps` takes them; None where no program makes them."""
        if self.compiled is None or torch.is_anomaly_enabled() or self._is_first():
            return None
        self._check()
        return self.compiled(x, y, count, places)

    def _step_of_program(self, x, y):
        """L of the step on these rows; None where no program makes it."""
        if not self._is_plain():
            return None
        self._check()
        if self._single is None or self._single.compiled is not self.compiled:
            self._single = SingleSteps(self.compiled)
        value = self._single(x, y)
        return None if value is None else self._committed({}, value)

    def _lean_steps(self, x, y):
        """The steps one after the other, and the losses of all from their outputs."""
        self._check()
        parameters, rules, rate, step, begun = self._lean.prepared(keeps_output=True)
        with inference_mode(True):
            outputs = [step(parameters, rules, rate, *rows) for rows in zip(x.unbind(), y.unbind(), strict=True)]
            outputs = torch.stack(outputs)
            if self._lean.is_only_member:
                outputs = outputs.unsqueeze(1)
            values = values_of_steps(self.loss, outputs, y, self.network.members)
        return self._committed(begun, values)

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
        """Whether the next step has another rule than those after it."""
        return False
