"""How to add what is missing, in words that suit what lacks it: a custom Function, a registered operator, or torch."""

from torchbp.testing.subject.graph import custom, function_name
from torchbp.testing.subject.naming import listing

GENERATED = "GeneratedBackwardFor"  # the Functions that torch.library makes of operators


def to_add(subject, function, operator, torchs):
    """One of three ways. A Function is named where the graph holds several nodes: it may be deep inside of a module."""
    nodes = custom(subject.call(subject.fresh_tensors(subject.differentiable)))
    names = list(dict.fromkeys(map(function_name, nodes)))
    written = [name for name in names if not name.startswith(GENERATED)]
    if written:
        where = f" in {listing(written[:3])}" if subject.callee.module is not None or len(written) > 1 else ""
        return f"to add it{where}: {function}"
    return f"to add it: {operator if names else torchs}"
