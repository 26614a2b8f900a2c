"""Independent labels: a row has any number of them, and each has an output."""

import torch

from torchbp.training.tasks.labels import Labels
from torchbp.training.tasks.task import answer_columns


class Multilabel(Labels):
    """y float `(N, L)`: 1 for each label that the row has, otherwise 0. The accuracy counts labels, not rows, and F1 is
    the mean over the labels.

    A weight in `class_weight` is of the rows that have the label; "balanced" is rows without / rows with the label.
    """

    name = "multilabel"
    score_words = (
        "Accuracy",
        "The share of correct answers, one for each label of a row. Compare it with an answer that does not depend on "
        "the features: for each label, what most rows have.",
        "share of answers",
    )

    def fit(self, y, w=None):
        super().fit(y, w)
        if self.class_weight is None:
            return
        counts = self.counts(y, w)
        if self.class_weight == "balanced":
            weights = ((len(y) if w is None else w.double().sum()) - counts) / counts
        else:
            weights = counts.new_tensor([self.class_weight.get(name, 1.0) for name in self.classes])
        self.criterion.pos_weight.copy_(weights)

    def counted(self):
        return f"{len(self.classes)} labels"

    def columns(self, answers, spread=None):
        labels = (answers >= 0.5).int()
        of_labels = {name: label.numpy() for name, label in zip(self.classes, labels.T, strict=True)}
        return answer_columns(self.classes, answers, spread) | of_labels

    def described(self, y, answer):
        label, predicted = (
            ", ".join(name for name, value in zip(self.classes, values, strict=True) if value >= 0.5) or "none"
            for values in (y, answer)
        )
        return label, predicted, float(torch.where(y > 0, answer, 1 - answer).prod())
