"""Which checks a large model has as a whole, and which each kind of its layers has: decided here alone."""

from torchbp.testing.checks import CHECKS, as_tuple, chosen_checks
from torchbp.testing.subject.large_model import is_large_model

_OF_WHOLE = ("values", "layers")  # these alone, unless others are asked for by name


def checks_for(function, names, asked, skip=()):
    """(the checks of a function or module, those of each kind of its layers, notes on what is left out).

    All of `names` run if it is no large model, or if a check is asked for by its name that is not of the whole.

    Args:
        function: what is audited.
        names: the checks that are chosen.
        asked: what the caller asked for: names of checks, and levels.
        skip: names of checks that are left out.
    """
    named = {name for name in as_tuple(asked) if name in CHECKS}
    if not named <= set(_OF_WHOLE) or not is_large_model(function):
        return list(names), (), []
    left_out = [name for name in names if name not in _OF_WHOLE]
    note = f"a large model: left out as a whole, but not of its layers: {', '.join(left_out)}"
    of_layers = ["values", *left_out] if left_out else [n for n in chosen_checks("default") if n != "layers"]
    is_added = not named and "layers" not in as_tuple(skip)
    whole = [name for name in _OF_WHOLE if name in names or (name == "layers" and is_added)]
    return whole, tuple(of_layers), [note] if left_out else []
