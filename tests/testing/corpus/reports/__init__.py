"""Defects after further public reports, written without a look at the checks."""

from tests.testing.corpus.reports import attention, batches, geometry, options, segments, state

DEFECTS = [entry for room in (attention, batches, segments, options, geometry, state) for entry in room.DEFECTS]
