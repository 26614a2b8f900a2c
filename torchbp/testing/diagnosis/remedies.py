"""How to add a missing feature to a custom Function, to a registered operator, or to plain torch operations."""

from torchbp.testing.subject.graph import custom_nodes, function_name
from torchbp.testing.subject.naming import listing

_GENERATED = "GeneratedBackwardFor"  # how the Functions begin that torch.library makes of operators


def to_add(subject, for_function, for_operator, for_torch):
    """The remedy that suits the subject. The Functions are named if there are several, or if they are in a module."""
    nodes = custom_nodes(subject.call(subject.fresh_tensors(subject.differentiable)))
    names = list(dict.fromkeys(map(function_name, nodes)))
    written = [name for name in names if not name.startswith(_GENERATED)]
    if written:
        where = f" in {listing(written[:3])}" if subject.callee.module is not None or len(written) > 1 else ""
        return f"to add it{where}: {for_function}"
    return f"to add it: {for_operator if names else for_torch}"
