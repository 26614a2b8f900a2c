"""One sample, or a few, through a network: every quantity of a step of backpropagation, by formula and number."""

from torchbp.explanation.explanation import Explanation, explain
from torchbp.explanation.grading.exercise import Exercise, exercise
from torchbp.explanation.grading.grade import Grade, Mark
from torchbp.explanation.notation.records import Factor, Record

__all__ = ["Exercise", "Explanation", "Factor", "Grade", "Mark", "Record", "exercise", "explain"]
