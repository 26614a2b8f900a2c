"""Gradients for given incoming ones."""

from tests.testing.corpus.entry import draw


def vector():
    return (draw(5),)
