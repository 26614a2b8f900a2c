"""autograd's graph of an output."""

import torch


def nodes_of(output):
    """Every node of the graph, once; none of an output without a graph."""
    seen, nodes = set(), [output.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            nodes += [before for before, _ in node.next_functions]


def is_ours(node):
    return isinstance(node, torch.autograd.function.BackwardCFunction) and (
        type(node)._forward_cls.__module__.startswith("torchbp.")
    )


def ours_of(output):
    """The nodes of our Functions."""
    return [node for node in nodes_of(output) if is_ours(node)]
