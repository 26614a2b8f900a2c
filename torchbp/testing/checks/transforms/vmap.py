"""Batches by torch.func: of incoming gradients, and of every subset of the arguments, against a loop."""

import itertools

import torch

from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import (
    backward,
    expect,
    expect_outputs,
    generator,
    gradients,
    incoming_for,
    need,
)
from torchbp.testing.numerics.tensors import first_line, random_like
from torchbp.testing.report import Defect, Skipped, Unsupported
from torchbp.testing.subject.graph import custom_nodes

_BATCH = 3
_REMEDIES = (
    "forward and setup_context, with generate_vmap_rule = True or a staticmethod vmap",
    "torch.library.register_vmap",
    "operations that torch.func.vmap takes, without .item() or a choice by the numbers",
)
_BATCHED_REMEDIES = (
    "a backward of torch operations, without .item(), numpy or fixed shapes",
    "torch operations in the backward of register_autograd, or register_vmap",
    "operations whose backward torch.func.vmap takes",
)


def batched_grad(subject):
    """Several incoming gradients at once, as `is_grads_batched=True` and torch.func.vmap send them."""
    need(subject)
    tensors = subject.fresh_tensors(subject.differentiable)
    outputs = [o for o in subject.call(tensors) if o.requires_grad]
    leaves = [tensors[i] for i in subject.differentiable]
    each = [incoming_for(subject, outputs, 31 + k) for k in range(_BATCH)]
    batch = [torch.stack(rows) for rows in zip(*each, strict=True)]
    expected = [backward(outputs, leaves, incoming, retain_graph=True) for incoming in each]
    expected = [torch.stack(rows) for rows in zip(*expected, strict=True)]

    def gradients_for(*incoming):
        found = torch.autograd.grad(outputs, leaves, incoming, retain_graph=True, allow_unused=True)
        return tuple(torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True))

    refused = None
    for words, call in (
        ("is_grads_batched=True", lambda batch: torch.autograd.grad(
            outputs, leaves, batch, retain_graph=True, is_grads_batched=True, allow_unused=True)),
        ("torch.func.vmap", lambda batch: torch.func.vmap(gradients_for)(*batch)),
    ):  # fmt: skip
        try:
            found = call([gradient.clone() for gradient in batch])  # a backward may write into them
        except Exception as error:
            refused = refused or first_line(error)
            continue
        found = [torch.zeros_like(e) if g is None else g for g, e in zip(found, expected, strict=True)]
        expect(subject, found, expected, f"a batch of incoming gradients by {words}", compared_to="those one by one")
    if refused:
        raise Unsupported(f"a batch of incoming gradients raises: {refused}; {to_add(subject, *_BATCHED_REMEDIES)}")


class _VmapRefused(Exception):
    """vmap raised; the cause is what it raised."""


def vmap(subject):
    """torch.func.vmap over every subset of the arguments, first and last dimension."""
    need(subject)
    if subject.random.is_used:
        raise Skipped("a random function draws other numbers when it is batched")
    worked, refused = False, None
    for subset, dim in itertools.product(_subsets_to_map(subject.differentiable), (0, -1)):
        words = f"{', '.join(subject.names(subset)[:4])}, dimension {dim}"
        try:
            _compare_with_loop(subject, subset, dim, words)
            worked = True
        except _VmapRefused as error:
            refused = refused or (words, error.__cause__)
    if refused is None:
        return
    words, error = refused
    text = first_line(error)
    if worked and _has_vmap_rule(subject):
        raise Defect(f"vmap over {words} raises {type(error).__name__}: {text}; over others it works")
    raise Unsupported(f"vmap over {words}: {text}; {to_add(subject, *_REMEDIES)}")


def _has_vmap_rule(subject):
    """Whether somebody wrote a vmap rule: then it must not raise for some arguments only."""
    outputs = subject.call(subject.fresh_tensors(subject.differentiable))
    rules = [getattr(node, "_forward_cls", torch.autograd.Function).vmap for node in custom_nodes(outputs)]
    return any(rule is not torch.autograd.Function.vmap for rule in rules)


def _subsets_to_map(wanted):
    if len(wanted) <= 3:
        return [list(s) for n in range(1, len(wanted) + 1) for s in itertools.combinations(wanted, n)]
    return [[i] for i in wanted] + [wanted]


def _compare_with_loop(subject, subset, dim, words):
    """Outputs and gradients of vmap over some arguments, against those of a loop over three points."""
    wanted, where = subject.differentiable, f"vmap over {words}"
    points = [[t * f if i in subset else t for i, t in enumerate(subject.point)] for f in (1.0, 0.9, 0.95)]
    points = [subject.clamp_to_domain(point) for point in points]
    batch = [torch.stack(ts, dim=dim) if i in subset else ts[0] for i, ts in enumerate(zip(*points, strict=True))]
    batch = [t.detach().clone().requires_grad_(i in wanted) for i, t in enumerate(batch)]

    def function(*tensors):
        outputs = subject.call_raw(*tensors)
        return tuple(outputs[i] for i in subject.outputs.compared)

    by_loop = [function(*subject.fresh_tensors(point=point)) for point in points]
    expected = [torch.stack(rows).detach() for rows in zip(*by_loop, strict=True)]
    source = generator(subject, 41)
    incoming = [random_like(e, source) for e in expected]
    in_dims = tuple(dim if i in subset else None for i in range(len(batch)))
    try:
        outputs = torch.func.vmap(function, in_dims)(*batch)
    except Exception as error:
        raise _VmapRefused from error
    expect_outputs(subject, outputs, expected, where, compared_to="that of a loop")
    try:
        found = backward(outputs, [batch[i] for i in wanted], incoming)
    except Defect as defect:
        raise _VmapRefused from defect.__cause__
    expected = _gradients_by_loop(subject, points, incoming, subset, dim, batch)
    expect(subject, found, expected, where, compared_to="that of a loop")


def _gradients_by_loop(subject, points, incoming, subset, dim, batch):
    """The gradient of a mapped argument has a row for each point; that of any other one is the sum over the points."""
    total = {i: torch.zeros_like(batch[i]) for i in subject.differentiable}
    for k, point in enumerate(points):
        of_point = gradients(subject, [g[k] for g in incoming], point=point)
        for i, gradient in zip(subject.differentiable, of_point, strict=True):
            if i in subset:
                total[i].select(dim, k).copy_(gradient)
            else:
                total[i] += gradient
    return list(total.values())
