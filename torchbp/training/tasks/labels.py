"""What two classes and independent labels have in common: an output for each label, whose answer is σ(Z).

The members e of a group answer together with the mean of their probabilities:

    P_e = σ(Z_e)      P = mean_e P_e      Z = ln P − ln(1 − P), the logit of the mean

ln P = ln Σ_e exp(ln σ(Z_e)) − ln E is exact where P itself is rounded to 0 or 1.
"""

import torch
import torch.nn.functional as F

from torchbp.ops.activations.sigmoid import RULE as SIGMOID
from torchbp.ops.activations.sigmoid import sigmoid
from torchbp.training.tasks.task import OF_CLASSES, Task, f1, weighted_sum

SMALLEST = 1e-15  # distance from 0 and from 1 that a probability has a logit at, in float64


class Labels(Task):
    """y float `(N, outputs)` of zeros and ones."""

    metrics = OF_CLASSES
    score = "accuracy"
    default_loss = "binary_cross_entropy_with_logits"

    @classmethod
    def takes(cls, rule):
        return rule.target == "elements" and rule.answers is SIGMOID

    def make_loss(self, module):
        if self.class_weight is None:
            return module()
        return module(weight=torch.ones(1), pos_weight=torch.ones(self.outputs))

    def encode(self, y):
        return y * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else y

    def truth(self, y):
        return y

    def answers(self, z):
        return sigmoid(z)

    def outputs_for(self, answers):
        return torch.logit(answers, eps=SMALLEST)

    def mean_answer(self, z, finite):
        left_out, count = ~finite[:, :, None, None], finite.sum(1)[:, None, None]
        log_p, log_not_p = (t.masked_fill(left_out, -torch.inf) for t in (F.logsigmoid(z), F.logsigmoid(-z)))
        p_each = log_p.exp()
        log_p, log_not_p = (t.logsumexp(1) - count.log() for t in (log_p, log_not_p))
        return log_p - log_not_p, deviation(p_each, log_p.exp(), left_out, count)

    def sums(self, z, y, w):
        losses = weighted_sum(self.row_losses(z, y), w)
        plain = losses
        if self.label_smoothing or self.class_weight is not None:
            plain = F.binary_cross_entropy_with_logits(z, y.expand_as(z), reduction="none")
            plain = weighted_sum(plain.mean(-1), w)
        predicted, actual = z.sigmoid() >= 0.5, (y > 0.5).expand(z.shape)
        correct = weighted_sum((predicted == actual).to(z.dtype).mean(-1), w)
        counts = [weighted_sum(t.transpose(-1, -2), w) for t in (predicted & actual, predicted, actual)]
        return torch.stack([losses, plain, correct, *(t for of in counts for t in of.unbind(-1))])

    def scores(self, sums, rows):
        loss, plain, correct = sums[:3] / rows
        hits, predicted, actual = sums[3:].unflatten(0, (3, -1))
        return {"loss": loss, "log_loss": plain, "accuracy": correct, "f1": f1(hits, predicted, actual).mean(0)}

    def constant(self, y, w, weighted=True):
        q = (self.encode(y) * w[:, None]).sum(0) / w.sum()
        p = getattr(self.criterion, "pos_weight", None) if weighted else None
        return ((1 if p is None else p.to(q)) * q / (1 - q)).log().clamp(-100, 100)


def deviation(p_each, p, left_out, count):
    """The standard deviation of the members' answers, `(groups, E, N, outputs)`, around their mean; the mean over the
    outputs, `(groups, N)`."""
    squares = (p_each - p[:, None]).masked_fill(left_out, 0).square().sum(1)
    return (squares / count).sqrt().mean(-1)
