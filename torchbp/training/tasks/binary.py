"""Two classes: one output, P(the second class)."""

import torch

from torchbp.training.errors import SettingError
from torchbp.training.tasks.labels import Labels
from torchbp.training.tasks.task import answer_columns


class Binary(Labels):
    """y float `(N, 1)`: 0 for the first class, 1 for the second.

    With weights of the classes, c_0 and c_1, divided by their mean over the training rows:

        ℓ = −c_1 y ln P − c_0 (1 − y) ln(1 − P)
    """

    name = "binary"
    exclusive = True
    outputs = 1

    def __init__(self, classes, loss=None, label_smoothing=0.0, class_weight=None):
        if len(classes) != 2:
            raise SettingError(f"the task binary has two classes, and these are {len(classes)}; use multiclass")
        super().__init__(classes, loss, label_smoothing, class_weight)

    def fit(self, y, w=None):
        super().fit(y, w)
        if self.class_weight is None:
            return
        both = torch.cat([1 - y, y], 1)
        counts = self.counts(both, w)
        if self.class_weight == "balanced":
            weights = counts.sum() / (2 * counts)
        else:
            weights = counts.new_tensor([self.class_weight.get(name, 1.0) for name in self.classes])
        weights = weights * counts.sum() / (weights @ counts)
        self.criterion.weight.copy_(weights[0])
        self.criterion.pos_weight.copy_(weights[1] / weights[0])

    def columns(self, answers, spread=None):
        return answer_columns(self.classes[1:], answers, spread) | {"class": self.predicted(answers)}

    def predicted(self, answers: torch.Tensor) -> list[str]:
        """The class of each row: the second one from P = ½ on."""
        return [self.classes[i] for i in (answers[:, 0] >= 0.5).long()]

    def described(self, y, answer):
        label, p = int(y[0]), float(answer[0])
        return self.classes[label], self.classes[int(p >= 0.5)], p if label else 1 - p
