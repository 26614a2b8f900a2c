"""The audited function as one plain function of a flat list of tensors, whatever it was before."""

import copy
import inspect
import itertools
import math
from dataclasses import replace

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from torchbp.testing.numerics.finite_differences import HALF
from torchbp.testing.numerics.rounding import Roundings, inside
from torchbp.testing.numerics.tensors import (
    cast,
    coarseness,
    evened,
    first_line,
    flat,
    freed,
    is_inexact,
    largest,
    nudged,
    promoted,
)
from torchbp.testing.options import Argument, CannotRun, Options
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject.global_settings import positions, put_back
from torchbp.testing.subject.graph import nodes, saved_tensors
from torchbp.testing.subject.module_copy import copied, places, promote_attributes
from torchbp.testing.subject.naming import argument_names, listing, name_of
from torchbp.testing.subject.rng import Randomness


class Subject:
    """A function, an autograd.Function, a module or a custom op, with the point at which it is audited.

    Everything is promoted to float64 where the function takes that. The caller's module and tensors are copied.
    """

    def __init__(self, function, inputs, options=None):
        self.options = options or Options()
        self.original, self.inputs, self.function = function, inputs, function
        self.name = name_of(function)
        self.module, self.copy_error = None, None
        if isinstance(function, torch.nn.Module):
            self.take_copy()
        elif inspect.isclass(function) and issubclass(function, torch.autograd.Function):
            self.function = function.apply
        elif inspect.isclass(function) and issubclass(function, torch.nn.Module):
            raise CannotRun(f"{self.name} is a class; give an instance, such as {self.name}()")
        if not callable(self.function):
            raise CannotRun(f"{self.name} is not callable")
        self.read_inputs(inputs)
        self.notes = self.even()
        self.inplace, self.writes = False, False
        self.tell = lambda words: None  # what a check is at
        self.moved = {}  # switches of torch that the forward leaves otherwise
        self.differentiates = False  # by itself, inside the forward, as forces are the gradient of an energy
        self.random = Randomness(self.options.seed)
        self.settle_dtype()
        self.notes += self.left_out()

    def take_copy(self):
        """A module of our own, the places of its parameters and buffers, and one that is never called."""
        self.module, self.copy_error = copied(self.original)
        self.untouched, _ = copied(self.original)
        self.holders = places(self.module)

    def read_inputs(self, inputs):
        args, kwargs = ((), dict(sorted(inputs.items()))) if isinstance(inputs, dict) else (inputs, {})
        args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
        self.leaves, self.structure = tree_flatten((args, kwargs))
        names = argument_names(self.original, args, kwargs)
        self.positions = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, torch.Tensor)]
        told = any(self.leaves[i].requires_grad for i in self.positions)
        self.arguments = []
        for i in self.positions:
            tensor = self.leaves[i]
            wanted = tensor.requires_grad if told else is_inexact(tensor)
            self.arguments.append(Argument(names[i], tensor.detach(), wanted, "input", wanted and not told))
        if self.module is not None:
            for name, tensor in self.module.named_parameters():
                self.arguments.append(Argument(name, tensor.detach(), tensor.requires_grad, "parameter"))
            for name, tensor in self.module.named_buffers():
                self.arguments.append(Argument(name, tensor.detach(), False, "buffer"))

    def even(self):
        """Make matrices that are symmetric up to rounding so to the last bit; notes of which ones they are."""
        given, self.arguments = self.arguments, [replace(a, tensor=evened(a.tensor)) for a in self.arguments]
        names = [a.name for a, b in zip(self.arguments, given, strict=True) if a.tensor is not b.tensor]
        return [f"{name} is symmetric up to rounding, and audited as (A + Aᵀ) / 2" for name in names]

    def settle_dtype(self):
        """Promote to float64, or stay with what was given where float64 is refused."""
        given = self.arguments
        try:
            self.arguments = [replace(a, tensor=promoted(a.tensor)) for a in given]
            if self.module is not None and self.copy_error is None:
                promote_attributes(self.module)
                promote_attributes(self.untouched)
            self.probe()
        except CannotRun:
            raise
        except Exception as error:
            self.arguments = [replace(a, tensor=a.tensor.clone()) for a in given]
            if self.module is not None:
                self.take_copy()
            try:
                self.probe()
            except Exception as again:
                mixed = len({a.tensor.dtype for a in given if is_inexact(a.tensor)}) > 1  # it may be of that alone
                real = error if mixed else again
                raise CannotRun(f"{self.name} raises {type(real).__name__}: {first_line(real)}") from real
            if any(a.tensor.dtype != promoted(a.tensor).dtype for a in given):
                self.notes.append(f"audited in the dtype given, since float64 raises: {first_line(error)}")

    def probe(self):
        """One call, to learn what comes out."""
        with self.random.probing():
            tensors = self.tensors(self.differentiable)
            before = self.tensors()
            try:
                result = self.result(*tensors)
                self.writes = any(not same_numbers(a, b) for a, b in zip(tensors, before, strict=True))
            except RuntimeError as error:
                if "a leaf Variable that requires grad" not in str(error):
                    raise
                self.inplace = True
                result = self.result(*tensors)
        outputs = tensors_of(result)
        self.expect_memory([*zip(self.names(range(len(tensors))), tensors, strict=True)], outputs)
        self.others = [leaf for leaf in tree_leaves(result) if not isinstance(leaf, torch.Tensor)]
        self.finite = any(bool(output.isfinite().any()) for output in outputs if is_inexact(output))
        self.shapes = [output.shape for output in outputs]
        self.output_dtypes = [output.dtype for output in outputs]
        inexact = [i for i, output in enumerate(outputs) if is_inexact(output)]
        self.attached = [i for i in inexact if outputs[i].requires_grad]
        self.outputs = self.attached or inexact
        self.detached = [i for i in inexact if i not in self.outputs]
        if self.attached:
            try:
                with torch.no_grad():
                    self.raw(*self.tensors())
            except Exception:
                self.differentiates = True
        self.height = max((largest(outputs[i]) for i in self.outputs), default=0.0)
        self.liftable, self.half = False, self.eps > HALF
        self.unit = max(self.eps, self.precision())

    def expect_memory(self, arguments, outputs):
        """Refuse a function that frees memory which others read after it: they, and its backward, would crash."""
        named = [*arguments, *(("an output", output) for output in outputs)]
        saved = ((f"a tensor that {node.name()} saves", t) for node in nodes(outputs) for t in saved_tensors(node))
        for name, tensor in itertools.chain(named, saved):
            if freed(tensor):
                raise CannotRun(f"{self.name} frees the memory of {name}, which an audit and a backward would read")

    def left_out(self):
        """Notes of what no check compares."""
        kinds = {a_kind(value) for value in self.others if not isinstance(value, (str, bool, int, type(None)))}
        notes = [f"not compared: {kind} that it returns" for kind in sorted(kinds)] if self.shapes else []
        notes += [f"not compared: {self.output_name(i)}, which has no graph" for i in self.detached]
        for argument in self.arguments:
            bad, name = int(argument.tensor.isnan().sum()), argument.name
            if bad and argument.differentiable:
                notes.append(
                    f"not compared: what depends on the nan in {name}, {bad} of its {argument.tensor.numel()} numbers"
                )
        return notes

    def expect_numbers(self, check):
        """There is something to compare: else `values` fails, and every other check is skipped."""
        nothing = self.nothing()
        if nothing:
            why, what = nothing
            if check == "values":
                raise Defect(f"nothing was compared: {why}", [f"to do: {what}"])
            raise Skipped(f"nothing to compare: {why}")

    def nothing(self):
        """(why nothing can be compared, what to do about it), or None."""
        wanted = [self.point[i] for i in self.differentiable]
        if not self.shapes:
            kinds = listing(sorted({a_kind(value) for value in self.others})) if self.others else "nothing"
            what = "return the tensor itself, without .item() or .numpy(); those of an object in a tuple or a dict"
            return f"it returns {kinds}, and no tensor", what
        if not wanted:
            return "no argument is floating and requires a gradient", "give one, such as torch.randn(3)"
        if not self.outputs:
            kinds = listing(sorted({str(dtype).removeprefix("torch.") for dtype in self.output_dtypes}))
            return f"it returns tensors of {kinds} alone, which have no derivatives", "return a floating tensor"
        if not any(tensor.numel() for tensor in wanted):
            return "every argument is empty", "give one with some numbers"
        if not any(self.shapes[i].numel() for i in self.outputs):
            return "every output is empty", "give inputs of which it makes some numbers"
        if not self.finite:
            nan = [a.name for a in self.arguments if bool(a.tensor.isnan().any())]
            why = f", and {listing(nan)} has nan" if nan else ""
            return f"no output is a finite number{why}", "give inputs at which it has finite outputs"
        return None

    def precision(self):
        """The rounding unit of the outputs, which may be computed in less than they are returned in."""
        point = [nudged(t) for t in self.point]
        try:
            outputs = self.numbers(point)
        except Exception:  # out of its domain
            return 0.0
        if not outputs:
            return 0.0
        moved = [t + 0.0123 * (1 + t.abs()) if is_inexact(t) else t for t in self.point]  # a zero is nowhere rounded
        unit, self.liftable = inside(self.numbers, [point, self.inside(moved)], self.height)
        self.half = max(unit, self.eps) > HALF
        return max(coarseness(torch.cat([flat(o).double() for o in outputs])), unit)

    @property
    def differentiable(self):
        return [i for i, argument in enumerate(self.arguments) if argument.differentiable]

    @property
    def point(self):
        return [argument.tensor for argument in self.arguments]

    @property
    def eps(self):
        """The rounding unit of the dtype that it is audited in."""
        return max((torch.finfo(self.arguments[i].tensor.dtype).eps for i in self.differentiable), default=2.2e-16)

    @property
    def tolerance(self):
        """For two ways to the same number, that differ in the order of their sums."""
        return max(1e-6, 32 * self.unit)

    @property
    def rounding(self):
        """What is left of numbers of the size 1 that cancel, relative to them."""
        return 1e3 * self.unit

    def natural(self, name):
        """|out| / |argument|: the size of a gradient in which nothing cancels, more or less."""
        tensor = next(a.tensor for a in self.arguments if a.name == name)
        return self.height / (largest(tensor) or 1.0)

    def negligible(self, name):
        """What may be left of a gradient that is 0, such as that of a bias before a normalisation."""
        return self.rounding * self.natural(name)

    def names(self, indices=None):
        return [self.arguments[i].name for i in (self.differentiable if indices is None else indices)]

    def output_name(self, index):
        return "out" if len(self.shapes) == 1 else f"out{index}"

    def output_names(self):
        return [self.output_name(i) for i in self.outputs]

    def tensors(self, wanted=(), point=None, dtype=None):
        """Fresh tensors, of which those in `wanted` require a gradient."""
        fresh = []
        for i, tensor in enumerate(self.point if point is None else point):
            tensor = tensor.detach().clone() if dtype is None else cast(tensor.detach(), dtype)
            fresh.append(tensor.requires_grad_() if i in wanted else tensor)
        return fresh

    def call_arguments(self, tensors):
        """(args, kwargs) of a call with these inputs; what is no tensor is as it was given."""
        leaves = list(self.leaves)
        for position, tensor in zip(self.positions, tensors, strict=False):  # parameters follow the inputs
            leaves[position] = tensor
        return tree_unflatten(leaves, self.structure)

    def raw(self, *tensors):
        """The outputs that are tensors, of the function itself: for transforms, which dislike a seeding inside."""
        return tensors_of(self.result(*tensors))

    def result(self, *tensors):
        before = positions()
        try:
            return self.called(tensors)
        finally:
            self.moved.update(put_back(before))

    def called(self, tensors):
        if self.inplace or self.writes:  # it shall not alter what the next call is given
            tensors = [tensor.clone() for tensor in tensors]
        args, kwargs = self.call_arguments(tensors)
        if self.module is None:
            return self.function(*args, **kwargs)
        state = {}
        for argument, tensor in zip(self.arguments, tensors, strict=True):
            if argument.kind != "input":  # a batch norm writes into its buffers
                state[argument.name] = tensor.clone() if argument.kind == "buffer" else tensor
        if self.copy_error is not None:
            return torch.func.functional_call(self.module, state, args, kwargs)
        # they stay there, since a backward may run the module again, as a checkpoint inside of it does
        for name, tensor in state.items():
            for held, key in self.holders[name]:
                held[key] = tensor
        return self.module(*args, **kwargs)

    def __call__(self, tensors):
        """The outputs that have a derivative, after a seeding."""
        self.random.seed()
        outputs = self.raw(*tensors)
        return [outputs[i] for i in self.outputs]

    def numbers(self, point=None):
        """The outputs at a point, without a graph."""
        if self.differentiates:
            return [output.detach() for output in self(self.tensors(self.differentiable, point))]
        with torch.no_grad():
            return self(self.tensors(point=point))

    def exact_numbers(self, point):
        """The outputs, without the rounding to a lower precision inside of the function, where it can be left out."""
        if not self.lifts:
            return self.numbers(point)
        with Roundings(lifted=True):
            return self.numbers(point)

    @property
    def lifts(self):
        return self.liftable and self.unit > self.eps

    def at(self, point):
        """The same function at another point."""
        other = copy.copy(self)
        other.arguments = [replace(a, tensor=t) for a, t in zip(self.arguments, point, strict=True)]
        return other

    def bounds(self, argument):
        """(low, high) of the numbers that an argument may have."""
        domain = self.options.domain
        domain = domain.get(argument.name) if isinstance(domain, dict) else domain
        return domain if domain is not None and argument.kind == "input" else (-math.inf, math.inf)

    def inside(self, point):
        """The point, with every real number in its domain."""
        if self.options.domain is None:
            return list(point)
        return [
            t.clamp(*self.bounds(a)) if a.differentiable and not t.is_complex() else t
            for a, t in zip(self.arguments, point, strict=True)
        ]

    def own_module(self):
        """A copy of the module that holds the audited parameters and buffers itself."""
        module = copy.deepcopy(self.untouched)
        held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for argument in self.arguments:
            if argument.kind != "input":
                held[argument.name].data = argument.tensor.clone()
        return module


def tensors_of(result):
    """The tensors that a function returns; of a view that was written into, torch makes the node when it is asked for.

    A hook on such a view that has no node yet ends the process, in torch 2.13.
    """
    tensors = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
    for tensor in tensors:
        tensor.grad_fn  # noqa: B018
    return tensors


def same_numbers(a, b):
    """Whether nothing was written; of what was freed nothing is read."""
    return freed(a) or bool(a.isnan().any()) or torch.equal(a, b)


def a_kind(value):
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"
