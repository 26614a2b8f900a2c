"""No write into what others hold, and two calls alive at once do not disturb each other."""

import math
import random
import sys
from dataclasses import replace
from itertools import combinations

import torch

from torchbp.testing.checks.inputs.magnitudes import points_of_magnitudes
from torchbp.testing.numerics.gradients import backward, expect, gaps, generator, gradients, graph_of, incoming_for
from torchbp.testing.numerics.tensors import is_inexact, random_like
from torchbp.testing.report import WRITTEN_INTO, Defect
from torchbp.testing.subject.global_settings import current_settings, restore_settings
from torchbp.testing.subject.graph import custom_nodes, gradients_kept
from torchbp.testing.subject.outputs import tensors_of
from torchbp.testing.subject.rng import random_states, same_state

_ONE_MEMORY = "likely cause: two views of one tensor, or a saved tensor, are returned; .clone() one of them"
_LARGE = 100_000  # numbers of all arguments, from which on fewer points are looked at
_STALE = "likely cause: a stale value, kept on the class, the module or a global instead of ctx"


def side_effects(subject):
    graph_of(subject)
    if subject.behaviour.in_place:
        return "works in place, as it says itself"
    _expect_arguments_unwritten(subject)
    _expect_separate_gradients(subject)
    _expect_gradients_of_their_own_memory(subject)
    _expect_unwritten_elsewhere(subject)
    note = _expect_module_unwritten(subject)
    _expect_no_seeding(subject)
    _expect_settings_kept(subject)
    _call_twice(subject)
    return note


def _expect_arguments_unwritten(subject):
    """Inputs, parameters, the incoming gradient and `.grad` are what they were."""
    subject = subject.at(subject.point)
    subject.behaviour = replace(subject.behaviour, writes=False)  # so that it is called with the tensors themselves
    wanted = subject.differentiable
    tensors = subject.fresh_tensors(wanted)
    names = subject.names(range(len(tensors)))
    before = [tensor.detach().clone() for tensor in tensors]
    outputs = subject.call(tensors)
    returned = {id(output) for output in outputs}
    for name, tensor, old, i in zip(names, tensors, before, range(len(tensors)), strict=True):
        if not equal(tensor, old) and id(tensor) not in returned:
            raise Defect(f"the forward writes into {name}")
        if tensor.requires_grad != (i in wanted):
            raise Defect(f"the forward changes requires_grad of {name}")
    incoming = incoming_for(subject, outputs)
    incoming_before, before = [g.clone() for g in incoming], [t.detach().clone() for t in tensors]
    backward(outputs, [tensors[i] for i in wanted], incoming, copied=False)
    for name, gradient, old in zip(subject.outputs.compared_names, incoming, incoming_before, strict=True):
        if not equal(gradient, old):
            raise Defect(f"the backward writes into the incoming gradient of {name}", cause=WRITTEN_INTO)
    for name, tensor, old in zip(names, tensors, before, strict=True):
        if not equal(tensor, old):
            raise Defect(f"the backward writes into {name}")
        if tensor.is_leaf and tensor.grad is not None:
            raise Defect(f"the backward writes into {name}.grad itself, so that the gradient is counted twice")


def _expect_separate_gradients(subject):
    """A second backward does not write into the gradients of the first."""
    outputs, leaves = graph_of(subject)
    first = backward(outputs, leaves, incoming_for(subject, outputs), retain_graph=True)
    before = [gradient.clone() for gradient in first]
    backward(outputs, leaves, incoming_for(subject, outputs, 9), retain_graph=True)
    for name, gradient, old in zip(subject.names(), first, before, strict=True):
        if not equal(gradient, old):
            raise Defect(f"a second backward writes into the gradient of {name} of the first: both are one buffer")


def _expect_gradients_of_their_own_memory(subject):
    """What a custom backward returns for two arguments is no memory of both, nor that of an argument.

    `.backward()` makes it their `.grad`, which optimizers and clipping write into. One tensor returned twice is copied.
    """
    for make in (torch.ones_like, lambda o: random_like(o, generator(subject, 19))):
        outputs, _ = graph_of(subject)
        attached = [o for o in outputs if o.requires_grad]
        found = []
        for node in custom_nodes(attached):
            node.register_hook(lambda grads, _, node=node, found=found: found.append((node, grads)))
        with gradients_kept(attached):
            torch.autograd.backward(attached, [make(o) for o in attached])
        for node, grads in found:
            leaves = [getattr(parent, "variable", None) for parent, _ in node.next_functions]
            pairs = [(t, g) for t, g in zip(leaves, grads, strict=True) if t is not None and _becomes_grad(g)]
            for (leaf, gradient), (_, other) in combinations(pairs, 2):
                if gradient is not other and overlap(gradient, other):
                    raise Defect(f"the backward gives one memory as two gradients, one of the shape {list(leaf.shape)}",
                                 [_ONE_MEMORY])  # fmt: skip
            for _, gradient in pairs:
                if any(overlap(gradient, leaf) for leaf in leaves if leaf is not None):
                    raise Defect("the backward gives the memory of an argument as a gradient", [_ONE_MEMORY])


def _becomes_grad(gradient):
    return gradient is not None and gradient.layout == torch.strided and gradient.is_contiguous()


def overlap(a, b):
    """Whether two contiguous tensors have a number in common."""
    if not a.numel() or not b.numel() or a.device != b.device:
        return False
    first, second = a.data_ptr(), b.data_ptr()
    return first < second + b.numel() * b.element_size() and second < first + a.numel() * a.element_size()


def _expect_unwritten_elsewhere(subject):
    """The forward writes into no argument at numbers of other sizes and signs either, nor at nan and the infinities."""
    subject = subject.at(subject.point)
    subject.behaviour = replace(subject.behaviour, writes=False)
    few = sum(subject.point[i].numel() for i in subject.differentiable) > _LARGE
    usual = [(words, point) for _, words, point in points_of_magnitudes(subject)]
    for words, point in [*_not_finite(subject), *usual[:: 8 if few else 1]]:
        tensors = subject.fresh_tensors(subject.differentiable, point)
        before = [tensor.detach().clone() for tensor in tensors]
        try:
            returned = {id(output) for output in subject.call(tensors)}
        except Exception:  # outside of its domain
            continue
        for i, (tensor, old) in enumerate(zip(tensors, before, strict=True)):
            if id(tensor) not in returned and not equal(tensor, old):
                raise Defect(f"at {words}: the forward writes into {subject.arguments[i].name}")


def _not_finite(subject):
    """(words, point): one input with nan or an infinity as its first entry, unless it has a domain without them."""
    for i in subject.differentiable:
        argument, tensor = subject.arguments[i], subject.point[i]
        if argument.kind != "input" or not tensor.numel():
            continue
        low, high = subject.domain_of(argument)
        infinities = [value for value in (math.inf, -math.inf) if low <= value <= high]
        for value in [*infinities, math.nan] if len(infinities) == 2 else infinities:
            other = tensor.clone(memory_format=torch.contiguous_format)
            other.view(-1)[0] = value
            yield f"{argument.name} with {value} first", [other if j == i else t for j, t in enumerate(subject.point)]


def equal(a, b):
    """Bit for bit, with nan equal to nan."""
    a, b = a.detach(), b.detach()
    if torch.equal(a, b) or not is_inexact(a):
        return torch.equal(a, b)
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a[~a.isnan()], b[~b.isnan()])


def _expect_module_unwritten(subject):
    """A module's forward writes into its buffers in training at most, its backward into nothing."""
    if subject.callee.module is None or subject.callee.copy_error is not None:
        return ""
    module = subject.fresh_module()
    pairs = zip(subject.point, subject.arguments, strict=True)
    inputs = [t.detach().clone().requires_grad_(a.differentiable) for t, a in pairs if a.kind == "input"]
    args, kwargs = subject.callee.inputs.unflatten(inputs)
    parameters = dict(module.named_parameters())
    state = {**parameters, **dict(module.named_buffers())}

    def snapshot():
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    start = snapshot()
    subject.random.seed()
    outputs = [o for o in tensors_of(module(*args, **kwargs)) if o.requires_grad]
    middle = snapshot()
    torch.autograd.backward(outputs, [torch.ones_like(o) for o in outputs])
    changed = [name for name in state if not equal(start[name], middle[name])]
    for name in changed:
        if name in parameters:
            raise Defect(f"the forward writes into the parameter {name}")
        if not module.training:
            raise Defect(f"the forward writes into the buffer {name} in evaluation")
    for name, tensor in state.items():
        if not equal(middle[name], tensor):
            raise Defect(f"the backward writes into {name}")
    return f"writes into its buffers in training: {', '.join(changed[:4])}" if changed else ""


def _expect_no_seeding(subject):
    """If calls from two random states end in the same one, the call has seeded the generator itself."""
    ends = []
    for seed in (11, 12):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed)
        tensors = subject.fresh_tensors(subject.differentiable)
        returned = subject.call_raw(*tensors)
        outputs = [returned[i] for i in subject.outputs.compared]
        backward(outputs, [tensors[i] for i in subject.differentiable], incoming_for(subject, outputs))
        ends.append(random_states())
    for name, end in ends[0].items():
        if end is not None and same_state(end, ends[1][name]):
            raise Defect(f"the random state of {name} is seeded by the call, for the whole program")


def _expect_settings_kept(subject):
    """Global settings are as they were, after the forward (which a subject notes itself) and after the backward."""
    before = current_settings()
    gradients(subject)
    for name, (old, new) in (subject.changed_settings | restore_settings(before)).items():
        raise Defect(f"{name} was {old}, and is {new} after the call")


def other_points(subject):
    """Points with the same kind of numbers: the inputs scaled, and in another order."""
    wanted = [i for i in subject.differentiable if subject.arguments[i].kind == "input"]
    yield [t * 0.9 if i in wanted else t for i, t in enumerate(subject.point)]
    yield [t.flip(list(range(t.dim()))) if i in wanted else t for i, t in enumerate(subject.point)]


def _call_twice(subject):
    """A second call between the forward and the backward of the first one changes nothing."""
    alone, wanted = gradients(subject), subject.differentiable
    for point in map(subject.clamp_to_domain, other_points(subject)):
        tensors, others = subject.fresh_tensors(wanted), subject.fresh_tensors(wanted, point)
        others = [o if a.kind == "input" else t for o, t, a in zip(others, tensors, subject.arguments, strict=True)]
        outputs = subject.call(tensors)
        before = [output.detach().clone() for output in outputs]
        try:
            second = subject.call(others)
        except Exception:  # the other point is not in its domain
            continue
        for name, output, old in zip(subject.outputs.compared_names, outputs, before, strict=True):
            if not equal(output, old):
                raise Defect(f"a second call writes into {name} of the first: both return one buffer")
        found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs))
        wrong = gaps(subject, found, alone)
        if wrong:
            what = f"a second call before the backward of the first changes the first's gradient of {wrong[0][0]}"
            raise Defect(what, [_STALE])
        found = backward(second, [others[i] for i in wanted], incoming_for(subject, second))
        expected = gradients(subject, point=point)
        expect(subject, found, expected, "the backward of one call changes that of the next")
