"""An entry of kinds 2 to 12: what the given inputs hide, and the checks that should find each kind."""

from tests.testing.corpus.entry import HIDDEN_BY_THE_INPUTS, Defect
from tests.testing.corpus.unseen import CHECKS


def entry(name, what, twin, inputs, kind, shows, source="", checks=(), **options):
    return Defect(name, what, inputs, options, twin=twin, checks=checks or CHECKS[kind],
                  kind=HIDDEN_BY_THE_INPUTS + kind, shows=shows, source=source)  # fmt: skip
