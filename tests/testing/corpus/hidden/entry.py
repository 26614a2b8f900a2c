"""An entry of kinds 2 to 12: what the given inputs hide, and the checks that should find each kind."""

from tests.testing.corpus.entry import HIDDEN_BY_THE_INPUTS, Defect

CHECKS = {
    2: ("variations",),
    3: ("magnitudes", "shapes"),
    4: ("precision",),
    5: ("precision",),
    6: ("side_effects",),
    7: ("determinism",),
    8: ("compiled_grad",),
    9: ("values", "memory"),
    10: ("reference",),
    11: ("side_effects", "variations"),
    12: ("extremes",),
}


def entry(name, what, twin, inputs, kind, shows, source="", checks=(), **options):
    """`options` are of torchbp.check."""
    checks = checks or CHECKS[kind]
    kind += HIDDEN_BY_THE_INPUTS
    return Defect(name, what, inputs, options, twin=twin, checks=checks, kind=kind, shows=shows, source=source)
