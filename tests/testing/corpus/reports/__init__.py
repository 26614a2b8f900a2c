"""Defects after further public reports, written without a look at the checks."""

from tests.testing.corpus.reports import attention, batches, geometry, options, state

DEFECTS = [entry for room in (attention, batches, options, geometry, state) for entry in room.DEFECTS]
