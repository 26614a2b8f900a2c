"""Which parameters get their gradient from torchbp's formulas, as autograd's graph shows it."""

# what a parameter may pass through on its way into an operation, without arithmetic: views and casts
PASSED = {
    *(
        "TBackward",
        "TransposeBackward",
        "PermuteBackward",
        "ViewBackward",
        "UnsafeViewBackward",
        "ReshapeAliasBackward",
    ),
    *("SliceBackward", "SelectBackward", "UnsqueezeBackward", "AliasBackward", "ToCopyBackward"),
}


def parameters_not_by_us(loss, network):
    """{name: the nodes of torch that give it a gradient}, of the parameters that `loss` depends on."""
    readers, todo, parameters = {}, [loss.grad_fn], {}
    while todo:
        node = todo.pop()
        if hasattr(node, "variable"):
            parameters[node.variable] = node
        for child, _ in node.next_functions:
            if child is not None:
                if child not in readers:
                    todo.append(child)
                readers.setdefault(child, []).append(node)
    names = {p: name for name, p in network.named_parameters()}
    of_torch = {names[p]: [n for n in _reached(node, readers) if not _is_ours(n)] for p, node in parameters.items()}
    return {name: sorted({node.name() for node in nodes}) for name, nodes in of_torch.items() if nodes}


def _reached(node, readers):
    """The nodes that read this one, past views."""
    for reader in readers[node]:
        if reader in readers and reader.name().rstrip("0123456789") in PASSED:
            yield from _reached(reader, readers)
        else:
            yield reader


def _is_ours(node):
    function = getattr(type(node), "_forward_cls", None)
    return function is not None and function.__module__.startswith("torchbp.")
