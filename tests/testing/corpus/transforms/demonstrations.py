"""How what a transform gives is shown beside what is right."""

from tests.testing.corpus.entry import Defect, draw


def entry(name, what, twin, inputs, shows, *checks, source="", kind=11, train=True, **options):
    return Defect(
        name, what, inputs, options, train=train, twin=twin, checks=checks, kind=kind, shows=shows, source=source
    )


def matrix():
    return (draw(3, 2),)
