"""Right for the call that gradcheck makes, and wrong for other layouts, sizes, dtypes and incoming gradients."""

from tests.testing.corpus.calls import autocast, dtypes, layouts, linearity, shapes, subsets

DEFECTS = [*autocast.DEFECTS, *dtypes.DEFECTS, *layouts.DEFECTS, *linearity.DEFECTS, *shapes.DEFECTS, *subsets.DEFECTS]
