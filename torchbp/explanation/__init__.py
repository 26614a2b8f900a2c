"""One sample, or a few, through a network: every quantity of a step of backpropagation, by formula and number."""

from torchbp.explanation.explanation import Explanation, explain
from torchbp.explanation.records import Factor, Record

__all__ = ["Explanation", "Factor", "Record", "explain"]
