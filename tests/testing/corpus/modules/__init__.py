"""Modules: the gradients of their parameters, and what is done with a whole module."""

from tests.testing.corpus.modules import copies, gradients

DEFECTS = [*copies.DEFECTS, *gradients.DEFECTS]
