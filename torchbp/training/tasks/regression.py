"""Numbers to predict: an output for each target, which is scaled to mean 0 and deviation 1 inside.

    U = (Y − m) / s     m, s: mean and deviation of the training rows      L = the loss of Z and U
    answers             Ŷ = m + s Z
    RMSE = √(mean (Ŷ − Y)²)      MAE = mean |Ŷ − Y|      R² = 1 − Σ (Ŷ − Y)² / Σ (Y − mean Y)²

Of several targets, a score is the mean over them.
"""

from types import MappingProxyType

import torch

from torchbp.training.tasks.task import Task, answer_columns, weighted_sum


class Regression(Task):
    """y float `(N, T)`, in its own units; `classes` are the names of the T targets."""

    name = "regression"
    metrics = MappingProxyType({"loss": "min", "rmse": "min", "mae": "min", "r2": "max"})
    score = "rmse"
    score_words = (
        "Root mean square error",
        "How far the answers are from the targets, in their units. Compare it with the targets' standard deviation, "
        "which an answer that does not depend on the features reaches as well: R² is 0 then.",
        "RMSE",
    )
    has_classes = False
    default_loss = "mse"

    def __init__(self, classes, loss=None, label_smoothing=0.0, class_weight=None):
        super().__init__(classes, loss, label_smoothing, class_weight)
        self.register_buffer("center", torch.zeros(len(classes)))
        self.register_buffer("scale", torch.ones(len(classes)))

    @classmethod
    def takes(cls, rule):
        if rule.target != "elements" or rule.answers is not None or rule.domain is not None or rule.count is not None:
            return False
        t = torch.tensor([0.3, 2.0], device="cpu")  # a network may be made on the device meta
        return not rule.module_class or not rule.each(t, t, **rule.options_of(rule.module_class())).any()

    def fit(self, y, w=None):
        super().fit(y, w)
        y = y.double()
        w = torch.ones(len(y), dtype=torch.double, device=y.device) if w is None else w.double()
        center = w @ y / w.sum()
        scale = (w @ (y - center).square() / w.sum()).sqrt()
        self.center.copy_(center)
        self.scale.copy_(torch.where(scale > 0, scale, 1))

    def encode(self, y):
        return (y - self.center) / self.scale

    def answers(self, z):
        return self.center + self.scale * z

    def outputs_for(self, answers):
        return (answers - self.center) / self.scale

    def mean_answer(self, z, finite):
        left_out, count = ~finite[:, :, None, None], finite.sum(1)[:, None, None]
        z = z.masked_fill(left_out, 0)
        mean = z.sum(1) / count
        squares = (z - mean[:, None]).masked_fill(left_out, 0).square().sum(1)
        return mean, ((squares / count).sqrt() * self.scale.to(z)).mean(-1)

    def sums(self, z, y, w):
        u = self.encode(y).to(z.dtype)
        error = (z - u).transpose(-1, -2)
        u = u.T.expand(error.shape)
        of_targets = [weighted_sum(values, w) for values in (error.square(), error.abs(), u, u.square())]
        return torch.cat([weighted_sum(self.row_losses(z, y), w)[None], *(t.movedim(-1, 0) for t in of_targets)])

    def scores(self, sums, rows):
        loss = sums[0] / rows
        square, absolute, mean, mean_square = sums[1:].unflatten(0, (4, -1)) / rows
        scale = self.scale.to(sums).view(-1, *[1] * (square.dim() - 1))
        r2 = 1 - square / (mean_square - mean.square())
        each = {"rmse": square.sqrt() * scale, "mae": absolute * scale, "r2": r2}
        scores = {"loss": loss, **{name: values.mean(0) for name, values in each.items()}}
        if len(self.classes) > 1:
            for name, values in each.items():
                scores |= {f"{name}/{of}": value for of, value in zip(self.classes, values, strict=True)}
        return scores

    def constant(self, y, w, weighted=True):
        u = self.encode(y)
        mean = w.to(u.dtype) @ u / w.sum()
        candidates = mean, u.median(0).values  # the best of squares, and of absolute values
        return min(candidates, key=lambda z: float(weighted_sum(self.row_losses(z.expand(u.shape), y), w)))

    def counted(self):
        count = len(self.classes)
        return f"{count} target{'s' * (count > 1)}, numbers"

    def columns(self, answers, spread=None):
        return answer_columns(self.classes, answers, spread, "{}")

    def described(self, y, answer):
        label, predicted = (", ".join(f"{number:.6g}" for number in values.tolist()) for values in (y, answer))
        return label, predicted, None
