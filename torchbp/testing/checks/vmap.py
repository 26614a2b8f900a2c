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
from torchbp.testing.subject.graph import custom

BATCH = 3
HOW = (
    "forward and setup_context, with generate_vmap_rule = True or a staticmethod vmap",
    "torch.library.register_vmap",
    "operations that torch.func.vmap takes, without .item() or a choice by the numbers",
)
HOW_BATCHED = (
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
    each = [incoming_for(subject, outputs, 31 + k) for k in range(BATCH)]
    batch = [torch.stack(rows) for rows in zip(*each, strict=True)]
    expected = [backward(outputs, leaves, incoming, retain_graph=True) for incoming in each]
    expected = [torch.stack(rows) for rows in zip(*expected, strict=True)]

    def walk(*incoming):
        found = torch.autograd.grad(outputs, leaves, incoming, retain_graph=True, allow_unused=True)
        return tuple(torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True))

    refused = None
    for words, call in (
        ("is_grads_batched=True", lambda: torch.autograd.grad(
            outputs, leaves, batch, retain_graph=True, is_grads_batched=True, allow_unused=True)),
        ("torch.func.vmap", lambda: torch.func.vmap(walk)(*batch)),
    ):  # fmt: skip
        try:
            found = call()
        except Exception as error:
            refused = refused or first_line(error)
            continue
        found = [torch.zeros_like(e) if g is None else g for g, e in zip(found, expected, strict=True)]
        expect(subject, found, expected, f"a batch of incoming gradients by {words} gives another")
    if refused:
        raise Unsupported(f"a batch of incoming gradients raises: {refused}; {to_add(subject, *HOW_BATCHED)}")


class Refused(Exception):
    """vmap raised; the cause is what it raised."""


def vmap(subject):
    """torch.func.vmap over every subset of the arguments, first and last dimension."""
    need(subject)
    if subject.random.is_used:
        raise Skipped("a random function draws otherwise when it is batched")
    worked, refused = False, None
    for subset, dim in itertools.product(chosen(subject.differentiable), (0, -1)):
        words = f"{', '.join(subject.names(subset)[:4])}, dimension {dim}"
        try:
            mapped(subject, subset, dim, words)
            worked = True
        except Refused as error:
            refused = refused or (words, error.__cause__)
    if refused is None:
        return
    words, error = refused
    text = first_line(error)
    if worked and has_rule(subject):
        raise Defect(f"vmap over {words} raises {type(error).__name__}: {text}; over others it works")
    raise Unsupported(f"vmap over {words}: {text}; {to_add(subject, *HOW)}")


def has_rule(subject):
    """Whether somebody wrote a vmap rule: then it must not raise for some arguments only."""
    outputs = subject.call(subject.fresh_tensors(subject.differentiable))
    rules = [getattr(node, "_forward_cls", torch.autograd.Function).vmap for node in custom(outputs)]
    return any(rule is not torch.autograd.Function.vmap for rule in rules)


def chosen(wanted):
    if len(wanted) <= 3:
        return [list(s) for n in range(1, len(wanted) + 1) for s in itertools.combinations(wanted, n)]
    return [[i] for i in wanted] + [wanted]


def mapped(subject, subset, dim, words):
    """Outputs and gradients of vmap, against those of a loop."""
    wanted = subject.differentiable
    points = [[t * f if i in subset else t for i, t in enumerate(subject.point)] for f in (1.0, 0.9, 0.95)]
    points = [subject.clamp_to_domain(point) for point in points]
    stacked = [torch.stack(ts, dim=dim) if i in subset else ts[0] for i, ts in enumerate(zip(*points, strict=True))]
    stacked = [t.detach().clone().requires_grad_(i in wanted) for i, t in enumerate(stacked)]

    def function(*tensors):
        outputs = subject.call_raw(*tensors)
        return tuple(outputs[i] for i in subject.outputs.compared)

    loop = [function(*subject.fresh_tensors(point=p)) for p in points]
    expected = [torch.stack(rows).detach() for rows in zip(*loop, strict=True)]
    source = generator(subject, 41)
    incoming = [random_like(e, source) for e in expected]
    try:
        outputs = torch.func.vmap(function, tuple(dim if i in subset else None for i in range(len(stacked))))(*stacked)
    except Exception as error:
        raise Refused from error
    expect_outputs(subject, outputs, expected, f"vmap over {words}")
    try:
        found = backward(outputs, [stacked[i] for i in wanted], incoming)
    except Defect as defect:
        raise Refused from defect.__cause__
    total = [torch.zeros_like(stacked[i]) for i in wanted]
    for k, point in enumerate(points):
        one = gradients(subject, [g[k] for g in incoming], point=point)
        for n, i in enumerate(wanted):
            if i in subset:
                total[n].select(dim, k).copy_(one[n])
            else:
                total[n] += one[n]
    expect(subject, found, total, f"the backward through vmap over {words}")
