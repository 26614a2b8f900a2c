"""Three classes or more: an output each, P = softmax(Z).

The members e of a group answer together with the mean of their probabilities, P = mean_e P_e. Its logarithm
ln P = ln Σ_e exp(ln P_e) − ln E serves as their Z, since softmax(ln P) = P.
"""

import torch
import torch.nn.functional as F

from torchbp.engine import RowWeighted, with_weight
from torchbp.training.tasks.labels import deviation
from torchbp.training.tasks.task import OF_CLASSES, Task, answer_columns, f1, weighted_sum

FEWEST = 1e-43  # as a share, whose logarithm is −99


class Multiclass(Task):
    """y int64 `(N)`, the index of the class.

    With weights of the classes, c, divided by their mean over the training rows, and K classes

        ℓ = −(1 − ε) c_y ln P_y − (ε/K) Σ_k c_k ln P_k

    as torch.nn.CrossEntropyLoss, but the mean divides by the number of rows, and not by Σ c_y: a batch with many rows
    of a heavy class makes a larger step.
    """

    name = "multiclass"
    exclusive = True
    metrics = OF_CLASSES
    score = "accuracy"
    default_loss = "cross_entropy"

    def __init__(self, classes, loss=None, label_smoothing=0.0, class_weight=None):
        super().__init__(classes, loss, label_smoothing, class_weight)
        self.register_buffer("weights", None if class_weight is None else torch.ones(len(classes)))
        if class_weight is not None:  # its targets are smoothed already
            self.__dict__["weighted"] = RowWeighted(type(self.criterion)(), divide_by="rows")

    @classmethod
    def takes(cls, rule):
        return rule.target == "classes" and "label_smoothing" in rule.options

    def make_loss(self, module):
        return module(label_smoothing=self.label_smoothing)

    def fit(self, y, w=None):
        super().fit(y, w)
        if self.class_weight is None:
            return
        counts = self.counts(y, w)
        if self.class_weight == "balanced":
            weights = counts.sum() / (len(counts) * counts)
        else:
            weights = counts.new_tensor([self.class_weight.get(name, 1.0) for name in self.classes])
        self.weights.copy_(weights * counts.sum() / (weights @ counts))

    def target(self, y, w=None):
        w = self.row_weights(y, w)
        if self.weights is None:
            return (y, self.criterion) if w is None else (with_weight(y, w, len(self.classes)), self.weighted)
        return self._shares(self.truth(y), self.weights) * (1 if w is None else w[:, None]), self.weighted

    def _shares(self, shares, weights):
        """Of the shares of the classes, `(…, K)`, those that are smoothed, times the weights."""
        return weights * ((1 - self.label_smoothing) * shares + self.label_smoothing / len(self.classes))

    def row_losses(self, z, y, doubt=0.0):
        smoothing = self.label_smoothing + doubt * (1 - self.label_smoothing)
        return self._cross_entropy(z, y, smoothing, None if self.weights is None else self.weights.to(z))

    def _cross_entropy(self, z, y, smoothing, weight=None):
        rule = self.loss_names()["cross_entropy"]
        of_rows = y.expand(z.shape[:-1]).flatten()
        options = {"reduction": "none", "label_smoothing": smoothing, "weight": weight}
        losses = rule.apply(z.flatten(0, -2), of_rows, **options)
        return losses.view(z.shape[:-1])

    def truth(self, y):
        return F.one_hot(y, len(self.classes))

    def answers(self, z):
        return z.softmax(-1)

    def outputs_for(self, answers):
        return answers.clamp(FEWEST).log()

    def mean_answer(self, z, finite):
        left_out, count = ~finite[:, :, None, None], finite.sum(1)[:, None, None]
        log_p = z.log_softmax(-1).masked_fill(left_out, -torch.inf)
        mean = log_p.logsumexp(1) - count.log()
        return mean, deviation(log_p.exp(), mean.exp(), left_out, count)

    def sums(self, z, y, w):
        losses = weighted_sum(self.row_losses(z, y), w)
        plain = losses
        if self.label_smoothing or self.weights is not None:
            plain = weighted_sum(self._cross_entropy(z, y, 0.0), w)
        predicted, y = z.argmax(-1), y.expand(z.shape[:-1])
        weights = (y.new_ones(y.shape[-1], dtype=z.dtype) if w is None else w.to(z.dtype)).expand(y.shape)
        correct = weights * (predicted == y)
        none = z.new_zeros(*z.shape[:-2], z.shape[-1])
        counts = [none.scatter_add(-1, at, of) for at, of in ((y, correct), (predicted, weights), (y, weights))]
        return torch.cat([torch.stack([losses, plain, correct.sum(-1)]), *(t.movedim(-1, 0) for t in counts)])

    def scores(self, sums, rows):
        loss, plain, correct = sums[:3] / rows
        hits, predicted, actual = sums[3:].unflatten(0, (3, -1))
        seen = (predicted + actual > 0).sum(0)  # a class without a row is no part of the mean
        macro = f1(hits, predicted, actual).sum(0) / seen
        return {"loss": loss, "log_loss": plain, "accuracy": correct, "f1": macro}

    def constant(self, y, w, weighted=True):
        shares = w @ self.truth(y).to(w.dtype)
        shares = self._shares(shares / shares.sum(), self.weights.to(w) if weighted and self.weights is not None else 1)
        return (shares / shares.sum()).clamp(FEWEST).log()

    def columns(self, answers, spread=None):
        return answer_columns(self.classes, answers, spread) | {"class": self.predicted(answers)}

    def predicted(self, answers: torch.Tensor) -> list[str]:
        """The most probable class of each row."""
        return [self.classes[i] for i in answers.argmax(1)]

    def described(self, y, answer):
        return self.classes[int(y)], self.classes[int(answer.argmax())], float(answer[int(y)])
