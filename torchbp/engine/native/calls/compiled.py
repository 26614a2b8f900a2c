"""Many steps of gradient descent in one call of a program in C, made for the network: most of a small step is calls."""

import time
import warnings
from functools import partial

import torch

from torchbp.engine.native.build import CannotBuild
from torchbp.engine.native.calls.agreement import agree
from torchbp.engine.native.calls.found import Found, with_common_counts
from torchbp.engine.native.calls.step_rows import StepRows, check_indices, is_in_memory
from torchbp.engine.native.program import Program
from torchbp.engine.native.trace import TracedNetwork, tensors_of, with_tensors_at
from torchbp.engine.native.translation.elementwise import NotKnown
from torchbp.engine.native.values import C_TYPES
from torchbp.engine.network import Network
from torchbp.engine.optimizers.lean_step import LeanFunctions
from torchbp.engine.optimizers.rule_inputs import RuleInputs
from torchbp.engine.optimizers.update_rule import rules_at, unique_rules, update_rules
from torchbp.engine.recently_used import cached, put
from torchbp.engine.step import step
from torchbp.ops.registry import rule_of

CHECKED = 3  # steps that a new program makes beside the engine's own
TIMED = 4  # times that these steps of the engine are timed
PROGRAMS = {}  # of this process, by all that they are made of, so that another optimizer needs no trace of its own
OF_PROCESS = 256  # of them are remembered


class CompiledSteps:
    """Steps of a network as programs in C, one for each shape of the rows.

    A new program makes some steps beside the engine's own, both on copies. It is used if it comes to the same numbers,
    and where it is faster.
    """

    def __init__(self, optimizer, required=True):
        """The loss and `max_grad_norm` of the optimizer may change between calls. `required`: whether it is an error,
        or a warning, where there is no program."""
        self.optimizer, self.network, self.traced = optimizer, Network(optimizer.model), TracedNetwork(optimizer.model)
        self.programs, self.required, self.said = {}, required, set()
        self.inputs, self.looked_up, self._options = RuleInputs(optimizer), {}, None

    @property
    def loss(self):
        return self.optimizer.loss

    @property
    def max_norm(self):
        return self.optimizer.max_grad_norm

    @torch.no_grad()
    def __call__(self, x, y, count=None, places=None):
        """The losses (K, …) of before each step; None where the engine's own step is faster, or has to do.

        Args:
            x, y, count, places: the rows of K steps, as `StepRows` takes them.

        Raises:
            TypeError: an operation that has no C, by name.
            IndexError: a class or another index that is out of range.
        """
        self.have_changed()
        rows = self.rows(x, y, count, places)
        try:
            found = self.found(rows)
        except NotKnown as error:
            if not self.required:
                return None
            raise TypeError(f"compile=True is not possible: {error} has no form in C; leave compile out") from None
        if found is None or not found.program.is_faster(rows.steps):
            return None
        check_indices(found.program.limits, rows.x, rows.y, getattr(self.loss, "ignore_index", None))
        losses = found.program(found.tensors, rows)
        found.count_steps()
        return self.optimizer._committed(found.begun, losses)

    def have_changed(self):
        """Whether something else than the rows is not as it was when this was asked last: what was looked up for it is
        forgotten then."""
        options = self.options(), self.values()
        if not self.inputs.have_changed() and options == self._options:
            return False
        self.looked_up, self._options = {}, options
        self.inputs.remember()
        return True

    def rows(self, x, y, count=None, places=None):
        return StepRows(x, y, count, places, self.network.members, rule_of(self.loss).target == "classes")

    def found(self, rows):
        """The program for these rows and what it is called on, a `Found`; None where there is none.

        Raises:
            NotKnown: an operation that has no C.
        """
        if (why := self.why_not(rows)) is not None:
            return self.not_compiled(why)
        found = self.looked_up.get(rows.key)
        if found is None or not found.is_valid():
            found = self._look_up(rows)
            if found is not None and found.is_watched:
                put(self.looked_up, rows.key, found)
        return found

    def why_not(self, rows):
        """Why no program takes these rows; None where one does."""
        if not all(map(is_in_memory, (rows.x, rows.y))):
            return "x or y is no plain tensor on the CPU"
        if not rows.fit_program():
            return f"x has the shape {tuple(rows.x.shape)} and y {tuple(rows.y.shape)}; give rows of one dimension"
        if not {rows.x.dtype, rows.y.dtype} <= set(C_TYPES):
            return f"x is {rows.x.dtype} and y {rows.y.dtype}, which no program takes"
        dtype = self.network.first_parameter.dtype
        if rows.y.is_floating_point() and rows.y.dtype is not dtype:
            return f"y is {rows.y.dtype}, and the model {dtype}; give y.to({dtype})"
        return None

    def _look_up(self, rows):
        members, parameters = self.network.members, self.optimizer.network.parameters()
        rules, begun = update_rules(self.optimizer, parameters)
        unique, indices = unique_rules(rules)
        numbers, first = {}, self.network.first_parameter
        of_tensors, counts = with_common_counts([rule.with_tensors(first, numbers) for rule in unique], members)
        tensors = [*tensors_of(parameters, of_tensors), *self.traced.buffers(), *self.numbers()]
        if not all(t.is_contiguous() and t.dtype in C_TYPES for t in tensors):
            return self.not_compiled("a parameter is of another type than float32 and float64, or not contiguous")
        number = {id(t): f"tensor {i}" for i, t in enumerate(tensors)}  # of those that several rules share too
        of_rules = [tuple(number.get(id(v), v) for v in rule) for rule in of_tensors]
        key = (rows.key, indices, *of_rules, *((t.shape, t.dtype) for t in tensors), *self.options())

        def make():
            with torch.device("cpu"):  # it may not be the default
                try:
                    return self.of_process(key, parameters, unique, of_tensors, indices, rows)
                except NotKnown as error:  # found out once
                    return error

        program = cached(self.programs, key, make)
        if isinstance(program, NotKnown):
            raise NotKnown(*program.args)
        return program and Found(program, tensors, counts, begun, parameters, self.traced.buffers)

    def not_compiled(self, why):
        """Say once why steps are not compiled, where that was asked for."""
        if self.required and why not in self.said:
            self.said.add(why)
            warnings.warn(f"steps are not compiled, since {why}", stacklevel=3)

    def options(self):
        """What a program is made for, beside the shapes: constants of the layers and of the loss."""
        return *constants_of(self.loss), self.max_norm is None, *self.traced.constants()

    def values(self):
        """The numbers that a program takes beside those of the rules: options of the layers, and the norm."""
        return [*self.traced.values(), *([] if self.max_norm is None else [self.max_norm])]

    def numbers(self):
        return [torch.full((), value, dtype=torch.float64, device="cpu") for value in self.values()]

    def of_process(self, key, parameters, unique, of_tensors, indices, rows):
        """The program that this process has made for such layers before, or a new one; None where there is none."""
        steps = zip(self.traced.named, self.traced.steps, strict=True)
        layers = [(rule_of(layer), step.place) for (_, layer), step in steps]
        has = tuple(tuple(p is not None for p in of_layer) for of_layer in parameters)
        key = (*key, *layers, has, self.network.members, torch.get_default_dtype())
        program = PROGRAMS.get(key) or self.made(parameters, unique, of_tensors, indices, rows)
        return program and cached(PROGRAMS, key, lambda: program, OF_PROCESS)

    def made(self, parameters, unique, of_tensors, indices, rows):
        """A program that was found to make the engine's steps; None where it cannot be built, or makes others."""
        try:
            program = Program(self.traced, self.loss, parameters, of_tensors, indices, self.numbers(), rows)
            if any(getattr(rows, name).is_floating_point() for name in program.limits):
                raise NotKnown("a class that is a real number")
        except CannotBuild as error:
            return self.not_compiled(error)
        rows = rows.repeated(CHECKED)
        check_indices(program.limits, rows.x, rows.y, getattr(self.loss, "ignore_index", None))
        tensors = [t.clone() for t in (*tensors_of(parameters, of_tensors), *self.traced.buffers())]
        of_engine, seconds = self.steps_of_engine(parameters, unique, indices, rows)
        losses = program([*tensors, *self.numbers()], rows)
        count = len(tensors) - len(self.traced.buffers())
        of_program = [losses, *changed(*with_tensors_at(tensors[:count], parameters, of_tensors)), *tensors[count:]]
        before = [0.9 * losses, *changed(parameters, unique), *self.traced.buffers()]
        dims = [1, *[0] * (len(before) - 1)] if self.network.members else [None] * len(before)
        if not all(map(agree, of_program, of_engine, before, dims)):
            warnings.warn(
                "steps are not compiled, since the program does not make the engine's own steps, which is a defect of "
                "torchbp or of the C compiler",
                stacklevel=2,
            )
            return None
        program.measure([*tensors, *self.numbers()], rows, seconds)
        return program

    def steps_of_engine(self, parameters, unique, indices, rows):
        """The losses, and what the steps change, after steps on copies; and the seconds of a step."""
        parameters = [tuple(p if p is None else p.clone() for p in row) for row in parameters]
        unique = [rule._replace(**{name: t.clone() for name, t in rule.state.items()}) for rule in unique]
        rules, batches = rules_at(unique, indices), list(map(rows.of_step, range(rows.steps)))
        one_step = partial(step, self.network, self.loss, parameters, rules, max_norm=self.max_norm)
        timed = one_step
        if self.max_norm is None:
            timed = LeanFunctions(self.network, self.loss).step_of(parameters, rules)
        with self.network.only_read(), torch.inference_mode():
            losses = torch.stack([one_step(*batch) for batch in batches])
            results = [losses, *(t.clone() for t in (*changed(parameters, unique), *self.network.buffers()))]
            seconds = []
            for _ in range(TIMED):
                start = time.perf_counter()
                for batch in batches:
                    timed(*batch)
                seconds.append((time.perf_counter() - start) / rows.steps)
        return results, min(seconds)


def constants_of(loss):
    """The rule of a loss and its options, of which one may be a loss; of a tensor, where its numbers are."""
    yield rule_of(loss)
    yield loss.reduction
    for value in rule_of(loss).options_of(loss).values():
        if isinstance(value, torch.nn.Module):
            yield from constants_of(value)
        elif isinstance(value, torch.Tensor):
            yield value.data_ptr(), value.shape, value.stride(), value.dtype
        else:
            yield value


def changed(parameters, rules):
    """What a step changes, counts apart."""
    tensors = [p for row in parameters for p in row if p is not None]
    for rule in rules:
        tensors += [tensor for name, tensor in rule.state.items() if name not in rule.COUNTS]
    return tensors
