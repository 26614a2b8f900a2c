"""The graph behind outputs: its nodes, and the tensors that they keep."""

import contextlib
from contextlib import contextmanager

import torch


def nodes(outputs):
    """Every node of the graph behind the outputs."""
    seen, stack = {}, [output.grad_fn for output in outputs]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen[node] = None
            stack.extend(parent for parent, _ in node.next_functions)
    return list(seen)


def custom_nodes(outputs):
    """The nodes of custom Functions: each is the ctx of its call."""
    return [node for node in nodes(outputs) if isinstance(node, torch.autograd.function.BackwardCFunction)]


def saved_tensors(node):
    """What one of torch's own nodes has saved."""
    for name in dir(node):
        if name.startswith("_saved_"):
            with contextlib.suppress(Exception):  # altered in place, as torch says, or a hook that refuses
                value = getattr(node, name)
                yield from (t for t in (value if isinstance(value, tuple) else (value,)) if isinstance(t, torch.Tensor))


def leaves_of(outputs):
    """The leaf tensors that the graph ends in."""
    return [node.variable for node in nodes(outputs) if hasattr(node, "variable")]


def moved_along(outputs, moves):
    """What the outputs are once the leaves have moved, to first order: o + J Δ, by the gradients of the graph.

    The gradient Jᵀu is linear in u, and its own gradient by u is J.

    Args:
        outputs: tensors.
        moves: [(leaf, Δ)].
    """
    graph = [output for output in outputs if output.requires_grad]
    if not graph:
        return [output.detach() for output in outputs]
    u = [torch.zeros_like(output, requires_grad=True) for output in graph]
    found = torch.autograd.grad(graph, [leaf for leaf, _ in moves], u, create_graph=True, allow_unused=True)
    used = [(g, move) for g, (_, move) in zip(found, moves, strict=True) if g is not None and g.requires_grad]
    changes = {}
    if used:
        along = torch.autograd.grad([g for g, _ in used], u, [move for _, move in used], allow_unused=True)
        changes = {id(output): change for output, change in zip(graph, along, strict=True) if change is not None}
    return [output.detach() + changes.get(id(output), 0) for output in outputs]


@contextmanager
def gradients_kept(outputs):
    """Within it, a backward without inputs leaves no trace in the `.grad` of tensors that the function holds itself."""
    before = [(leaf, leaf.grad) for leaf in leaves_of(outputs)]
    for leaf, _ in before:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, gradient in before:
            leaf.grad = gradient


def function_name(node):
    return type(node).__name__.removesuffix("Backward")


def tensors_on_ctx(outputs):
    """'Function keeps ctx.name' of each tensor that is kept as an attribute, without save_for_backward."""
    return [
        f"{function_name(node)} keeps ctx.{name}"
        for node in custom_nodes(outputs)
        for name, value in vars(node).items()
        if _has_tensor(value)
    ]


def _has_tensor(value):
    if isinstance(value, (list, tuple, dict)):
        return any(_has_tensor(item) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor)


def _memory(tensor):
    """Where its numbers are, which a sparse tensor has in another one."""
    if tensor.layout == torch.sparse_coo:
        tensor = tensor._values()
    elif tensor.layout != torch.strided:
        tensor = tensor.values()
    return tensor.untyped_storage().data_ptr()


def saved_intermediates(outputs, known):
    """Saved tensors that are neither inputs nor outputs: a second derivative does not know how they were computed."""
    storages = {_memory(tensor) for tensor in known}
    found = []
    for node in custom_nodes(outputs):
        for i, tensor in enumerate(node.saved_tensors):
            if tensor is None or tensor.requires_grad or not tensor.is_floating_point():
                continue
            if _memory(tensor) not in storages:
                found.append(f"{function_name(node)} saves what its forward has computed, saved_tensors[{i}]")
    return found
