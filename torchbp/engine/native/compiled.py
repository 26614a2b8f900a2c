"""Many steps of gradient descent in one call of a program in C, made for the network: most of a small step is calls."""

import time
import warnings
from typing import NamedTuple

import torch

from torchbp.engine.native.build import CannotBuild
from torchbp.engine.native.elementwise import NotKnown
from torchbp.engine.native.program import Program
from torchbp.engine.native.step_rows import StepRows, check_indices
from torchbp.engine.native.trace import TracedNetwork, tensors_of, with_tensors_at
from torchbp.engine.native.values import C_TYPES
from torchbp.engine.network import Network
from torchbp.engine.optimizers.lean_step import LeanFunctions
from torchbp.engine.optimizers.update_rule import rules_at, unique_rules
from torchbp.engine.recently_used import cached
from torchbp.engine.step import step
from torchbp.ops.registry import rule_of

CHECKED = 3  # steps that a new program makes beside the engine's own
TIMED = 4  # times that these steps of the engine are timed
PROGRAMS = {}  # of this process, by all that they are made of, so that another optimizer needs no trace of its own
# how far apart the two may come, as a part of what the steps change, beside rounding
OF_CHANGE = {torch.float32: 1e-2, torch.float64: 1e-6}


class Found(NamedTuple):
    """A program; the tensors that it is called on; and pairs of a count of steps, and of the one that it changes."""

    program: Program
    tensors: list
    counts: list


class CompiledSteps:
    """Steps of a network as programs in C, one for each shape of the rows.

    A new program makes some steps beside the engine's own, both on copies. It is used if it comes to the same numbers,
    and where it is faster.
    """

    def __init__(self, model, loss, required=True):
        """`required`: whether it is an error, or a warning, where there is no program."""
        self.network, self.traced, self.loss, self.programs = Network(model), TracedNetwork(model), loss, {}
        self.required, self.said = required, set()

    @torch.no_grad()
    def __call__(self, parameters, rules, x, y, count=None, places=None):
        """The losses (K, …) of before each step; None where the engine's own step is faster, or has to do.

        Args:
            x, y, count, places: the rows of K steps, as `StepRows` takes them.

        Raises:
            TypeError: an operation that has no C, by name.
            IndexError: a class or another index that is out of range.
        """
        rows = self.rows(x, y, count, places)
        try:
            found = self.found(parameters, rules, rows)
        except NotKnown as error:
            if not self.required:
                return None
            raise TypeError(f"compile=True is not possible: {error} has no form in C; leave compile out") from None
        if found is None or not found.program.is_faster(rows.steps):
            return None
        check_indices(found.program.limits, rows.x, rows.y, getattr(self.loss, "ignore_index", None))
        losses = found.program(found.tensors, rows)
        for count_of_rule, common in found.counts:
            count_of_rule.copy_(common)
        return losses

    def rows(self, x, y, count=None, places=None):
        return StepRows(x, y, count, places, self.network.members, rule_of(self.loss).target == "classes")

    def found(self, parameters, rules, rows):
        """The program for these rows and what it is called on, a `Found`; None where there is none.

        Raises:
            NotKnown: an operation that has no C.
        """
        members = self.network.members
        unique, indices = unique_rules(rules)
        numbers, first = {}, self.network.first_parameter
        of_tensors, counts = with_common_counts([rule.with_tensors(first, numbers) for rule in unique], members)
        tensors = [*tensors_of(parameters, of_tensors), *self.traced.buffers()]
        given = *tensors, rows.x, rows.y
        if not rows.fit_program():
            return self.not_compiled(
                f"x has the shape {tuple(rows.x.shape)} and y {tuple(rows.y.shape)}; give rows of one dimension"
            )
        if rows.y.is_floating_point() and rows.y.dtype is not first.dtype:
            return self.not_compiled(f"y is {rows.y.dtype}, and the model {first.dtype}; give y.to({first.dtype})")
        if not all(t.is_contiguous() and t.dtype in C_TYPES for t in given):
            return self.not_compiled(
                "a parameter or a row is of another type than float32 and float64, or not contiguous"
            )
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
        return None if program is None else Found(program, tensors, counts)

    def not_compiled(self, why):
        """Say once why steps are not compiled, where that was asked for."""
        if self.required and why not in self.said:
            self.said.add(why)
            warnings.warn(f"steps are not compiled, since {why}", stacklevel=3)

    def options(self):
        """What a program is made for, beside the shapes: constants of the layers and of the loss."""
        of_loss = rule_of(self.loss).options_of(self.loss).values()
        memory = ((t.data_ptr(), t.shape, t.stride(), t.dtype) if isinstance(t, torch.Tensor) else t for t in of_loss)
        of_layers = (value for value in self.network.constants() if not isinstance(value, torch.Tensor))
        return rule_of(self.loss).name, *memory, self.loss.reduction, *of_layers

    def of_process(self, key, parameters, unique, of_tensors, indices, rows):
        """The program that this process has made for such layers before, or a new one; None where there is none."""
        steps = zip(self.traced.named, self.traced.steps, strict=True)
        layers = [(rule_of(layer), step.place) for (_, layer), step in steps]
        has = tuple(tuple(p is not None for p in of_layer) for of_layer in parameters)
        key = (*key, *layers, has, rule_of(self.loss), self.network.members, torch.get_default_dtype())
        if key not in PROGRAMS:
            program = self.made(parameters, unique, of_tensors, indices, rows)
            if program is None:
                return None
            PROGRAMS[key] = program
        return cached(PROGRAMS, key, None)

    def made(self, parameters, unique, of_tensors, indices, rows):
        """A program that was found to make the engine's steps; None where it cannot be built, or makes others."""
        try:
            program = Program(self.traced, self.loss, parameters, of_tensors, indices, rows)
            if any(getattr(rows, name).is_floating_point() for name in program.limits):
                raise NotKnown("a class as a real number, as beside a weight,")
        except CannotBuild as error:
            return self.not_compiled(error)
        rows = rows.repeated(CHECKED)
        check_indices(program.limits, rows.x, rows.y, getattr(self.loss, "ignore_index", None))
        tensors = [t.clone() for t in (*tensors_of(parameters, of_tensors), *self.traced.buffers())]
        of_engine, seconds = self.steps_of_engine(parameters, unique, indices, rows)
        losses = program(tensors, rows)
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
        program.measure(tensors, rows, seconds)
        return program

    def steps_of_engine(self, parameters, unique, indices, rows):
        """The losses, and what the steps change, after steps on copies; and the seconds of a step."""
        parameters = [tuple(p if p is None else p.clone() for p in row) for row in parameters]
        unique = [rule._replace(**{name: t.clone() for name, t in rule.state.items()}) for rule in unique]
        rules, functions = rules_at(unique, indices), LeanFunctions(self.network, self.loss)
        *arguments, kinds = functions.arguments(rules)
        lean, batches = functions.function(kinds, arguments[1] is not None), list(map(rows.of_step, range(rows.steps)))
        with self.network.only_read(), torch.inference_mode():
            losses = torch.stack([step(self.network, self.loss, parameters, rules, *batch) for batch in batches])
            results = [losses, *(t.clone() for t in (*changed(parameters, unique), *self.network.buffers()))]
            seconds = []
            for _ in range(TIMED):
                start = time.perf_counter()
                for batch in batches:
                    lean(parameters, *arguments, *batch)
                seconds.append((time.perf_counter() - start) / rows.steps)
        return results, min(seconds)


def changed(parameters, rules):
    """What a step changes, counts apart."""
    tensors = [p for row in parameters for p in row if p is not None]
    for rule in rules:
        tensors += [tensor for name, tensor in rule.state.items() if name not in rule.COUNTS]
    return tensors


def agree(found, expected, before, dim=None):
    """Whether two tensors are the same but for rounding and a small part of what the steps have changed; with the
    dimension of the members, for each of them."""
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    if dim is None or not expected.dim():
        found, expected, before = (t.reshape(1, -1) for t in (found, expected, before))
    else:
        found, expected, before = (t.movedim(dim, 0).reshape(t.shape[dim], -1) for t in (found, expected, before))
    change, rounding = finite_norms(expected - before), torch.finfo(expected.dtype).eps ** 0.75 * finite_norms(expected)
    same = (found == expected) | (found.isnan() & expected.isnan())
    error = (found - expected).where(~same, 0).norm(dim=1)
    return bool((error <= OF_CHANGE[expected.dtype] * change + rounding).all())


def finite_norms(rows):
    return rows.where(rows.isfinite(), 0).norm(dim=1)


def with_common_counts(rules, members):
    """The rules with one tensor for all counts of steps that are equal, of an ensemble with a number for each member;
    and pairs of a count that was replaced, and of what replaces it."""
    common, pairs, result = {}, [], []
    for rule in rules:
        for name in rule.COUNTS:
            count = getattr(rule, name)
            of_members = count.expand(members).clone() if members and not count.dim() else count
            used = common.setdefault(tuple(of_members.view(-1).tolist()), of_members)
            if used is not count:
                pairs.append((count, used if count.dim() == used.dim() else used[0]))
                rule = rule._replace(**{name: used})
        result.append(rule)
    return result, pairs
