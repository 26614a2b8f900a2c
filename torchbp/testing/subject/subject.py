"""`Subject`: what is audited, at one point, for the checks to call."""

import copy
import math
from dataclasses import dataclass, field, replace

import torch

from torchbp.testing.numerics.rounding import Roundings
from torchbp.testing.numerics.tensors import cast, largest, nudged
from torchbp.testing.options import Options
from torchbp.testing.subject.callee import Callee
from torchbp.testing.subject.global_settings import current_settings, restore_settings
from torchbp.testing.subject.graph import moved_along
from torchbp.testing.subject.outputs import Behaviour, Outputs, tensors_of
from torchbp.testing.subject.precision import Precision
from torchbp.testing.subject.rng import Randomness


@dataclass
class Subject:
    """The audited function, with the tensors of its arguments: the point at which it is audited.

    Everything is promoted to float64 where the function takes that. The caller's module and tensors are copied.
    """

    callee: Callee
    arguments: list  # of Argument: inputs, then parameters, then buffers
    options: Options
    random: Randomness
    outputs: Outputs = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    precision: Precision = None
    layer_checks: tuple = ()  # of a large model, whose parameters are not copied: the checks for each kind of layer
    unreached: list = field(default_factory=list)  # leaves that the function uses, and that are no arguments
    notes: list = field(default_factory=list)
    changed_settings: dict = field(default_factory=dict)  # global torch settings: {name: (before, after)}
    report_progress: object = lambda words: None  # called with what a check is doing, in case it crashes there

    @property
    def name(self):
        return self.callee.name

    @property
    def is_large_model(self):
        return bool(self.layer_checks)

    @property
    def differentiable(self):
        """The indices of the arguments that require a gradient."""
        return [i for i, argument in enumerate(self.arguments) if argument.differentiable]

    @property
    def point(self):
        return [argument.tensor for argument in self.arguments]

    def names(self, indices=None):
        return [self.arguments[i].name for i in (self.differentiable if indices is None else indices)]

    def at(self, point):
        """The same function at another point."""
        other = copy.copy(self)
        other.arguments = [replace(a, tensor=t) for a, t in zip(self.arguments, point, strict=True)]
        return other

    def fresh_tensors(self, wanted=(), point=None, dtype=None):
        """Copies of the tensors of the point, of which those in `wanted` require a gradient."""
        fresh = []
        for i, tensor in enumerate(self.point if point is None else point):
            if self.is_large_model and dtype is None and self.arguments[i].kind == "parameter":
                tensor = tensor.detach()
            else:
                tensor = tensor.detach().clone() if dtype is None else cast(tensor.detach(), dtype)
            fresh.append(tensor.requires_grad_() if i in wanted else tensor)
        return fresh

    def call(self, tensors):
        """The outputs that are compared, after the random generators were seeded."""
        self.random.seed()
        outputs = self.call_raw(*tensors)
        return [outputs[i] for i in self.outputs.compared]

    def call_raw(self, *tensors):
        """Every tensor that the function returns. It seeds nothing, since transforms of torch.func dislike that."""
        return tensors_of(self.result_of(tensors))

    def call_no_grad(self, point=None):
        """The outputs that are compared, at a point, without a graph."""
        if self.behaviour.runs_autograd:
            return [output.detach() for output in self.call(self.fresh_tensors(self.differentiable, point))]
        with torch.no_grad():
            outputs = self.call(self.fresh_tensors(point=point))
        if self.is_large_model:  # the module need not hold the parameters of another point
            self.callee.place_state({a.name: a.tensor for a in self.arguments if a.kind == "parameter"})
        return outputs

    def call_unrounded(self, point):
        """`call_no_grad`, without the rounding to a lower precision inside of the function, if that is removable.

        Where a surrogate is given, numerical derivatives are those of the surrogate.
        """
        if self.options.surrogate is not None and isinstance(self.callee, Callee):
            return self._call_surrogate(point)
        if not self.precision.removes_rounding:
            return self.call_no_grad(point)
        with Roundings(lifted=True):
            return self.call_no_grad(point)

    def _call_surrogate(self, point):
        """What the surrogate returns near the audited point, by its own gradient there: a detach makes a constant."""
        tensors = self.fresh_tensors(self.differentiable)
        moves = [(tensors[i], point[i] - self.point[i]) for i in self.differentiable]
        return moved_along(self.call_surrogate(tensors), moves)

    def call_surrogate(self, tensors):
        """The outputs of the surrogate that are compared."""
        self.random.seed()
        returned = tensors_of(self.callee.call_surrogate(self.arguments, tensors, self.options.surrogate))
        return [returned[i] for i in self.outputs.compared]

    def result_of(self, tensors):
        """What the function returns. Global settings that it changes are noted, and put back."""
        if self.behaviour.in_place or self.behaviour.writes:  # it shall not alter what the next call is given
            tensors = [tensor.clone() for tensor in tensors]
        before = current_settings()
        try:
            return self.callee.call(self.arguments, tensors)
        finally:
            self.changed_settings.update(restore_settings(before))

    def fresh_module(self):
        """A copy of the module that holds the audited parameters and buffers."""
        return self.callee.fresh_module(self.arguments)

    def domain_of(self, argument):
        """(low, high) of the numbers that an argument may have."""
        domain = self.options.domain
        domain = domain.get(argument.name) if isinstance(domain, dict) else domain
        return domain if domain is not None and argument.kind == "input" else (-math.inf, math.inf)

    def clamp_to_domain(self, point):
        """The point, with every real number in its domain."""
        if self.options.domain is None:
            return list(point)
        return [
            t.clamp(*self.domain_of(a)) if a.differentiable and not t.is_complex() else t
            for a, t in zip(self.arguments, point, strict=True)
        ]

    def let_parameters_go(self):
        """Of a large model, when it has been called for the last time: its parameters in float64 take much memory."""
        self.arguments = [
            replace(a, tensor=a.tensor.to("meta")) if a.kind == "parameter" else a for a in self.arguments
        ]
        self.callee.place_state({a.name: a.tensor for a in self.arguments if a.kind == "parameter"})

    @property
    def size_of_outputs(self):
        """|out|; where all is 0 but for rounding, as of a layer norm of one number, the size of what cancels."""
        size, operands = self.outputs.largest, max(map(largest, self.point), default=0.0)
        return operands if size < 1e-12 * min(operands, 1.0) and self._outputs_are_noise() else size

    def _outputs_are_noise(self):
        """Whether they are others at numbers that differ by 1e-9: those of 1e-23 x² are as small, and are not."""
        once = list(map(nudged, self.point))
        try:
            found = [self.call_no_grad(point) for point in (self.point, once, list(map(nudged, once)))]
        except Exception:  # outside of its domain
            return False
        gaps = [largest(a - b) for other in found[1:] for a, b in zip(found[0], other, strict=True)]
        return not max(gaps, default=0.0) < 1e-3 * self.outputs.largest

    def typical_gradient(self, name):
        """|out| / |argument|: roughly the size of a gradient in which nothing cancels."""
        tensor = next(a.tensor for a in self.arguments if a.name == name)
        return self.size_of_outputs / (largest(tensor) or 1.0)

    def negligible_gradient(self, name):
        """What may be left of a gradient that is 0, such as that of a bias before a normalisation."""
        return self.precision.cancellation_error * self.typical_gradient(name)
