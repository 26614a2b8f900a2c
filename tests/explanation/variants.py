"""Parameters of tests of which each value is tried, and a third of all combinations; with --exhaustive all."""

import itertools

import pytest


def variants(**values):
    """A decorator: the product of the values of each name. Every third is run; each two values of two names meet."""
    values = {name: list(of) for name, of in values.items()}
    places = itertools.product(*(range(len(v)) for v in values.values()))
    found = [
        pytest.param(
            *(v[i] for v, i in zip(values.values(), place, strict=True)),
            marks=pytest.mark.exhaustive if sum(place) % 3 else (),
        )
        for place in places
    ]
    return pytest.mark.parametrize(tuple(values), found)
