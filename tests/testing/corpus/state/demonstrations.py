"""How an entry is made."""

from tests.testing.corpus.entry import Defect


def entry(name, what, twin, inputs, shows, checks=("side_effects",), source=""):
    return Defect(name, what, inputs, twin=twin, checks=checks, kind=6, shows=shows, source=source)
