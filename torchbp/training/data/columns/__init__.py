"""From the columns of a table to features: `find_columns` decides by the training rows, `encode` does it for any."""

from torchbp.training.data.columns.encoding import encode, feature_names
from torchbp.training.data.columns.kinds import Columns, check_columns, find_columns
from torchbp.training.data.columns.texts import canonical_texts

__all__ = ["Columns", "canonical_texts", "check_columns", "encode", "feature_names", "find_columns"]
