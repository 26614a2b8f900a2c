"""What all tasks have in common: the loss that a network is trained on, and what a task says of outputs and answers.

It needs torch and scikit-learn, and no Lightning.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch

import torchbp.nn  # noqa: F401  (the losses' rules get their modules there)
from torchbp.engine import RowWeighted, with_weight
from torchbp.ops.registry import rule_of, rules
from torchbp.ops.rules import Loss
from torchbp.training.errors import SettingError

OF_CLASSES = MappingProxyType({"loss": "min", "log_loss": "min", "accuracy": "max", "f1": "max", "auroc": "max"})


class Task(torch.nn.Module):
    """From the outputs Z of a network to its loss, its answers and its scores.

    Its buffers, such as the scale of a target, are fitted to the training rows, and a checkpoint keeps them.

    Args:
        classes: the names of the classes or labels, or of the columns of a regression.
        loss: the name of the loss; None is the first of `loss_names()`.
        label_smoothing: ε in [0, 1): of a target of classes, the part that all classes share evenly.
        class_weight: {class: weight} of a class in the loss, 1 for a class that is not named; or "balanced". None is 1
            for all. With label_smoothing it is the weight of a class in every row's part of it.

    A subclass has the constants

        name        of the task
        metrics     {name: "min" or "max"} of the scores of rows, and which is best
        score       the one of them that is shown beside the loss
        score_words its name, what to compare it with, and its unit
        exclusive   whether a row has one class

    and the methods that raise NotImplementedError here. Shapes: `(…)` are the dimensions of members, if there are some.
    """

    name = score = ""
    score_words = (
        "Accuracy",
        "The share of correct answers. Compare it with the share of the most frequent class, which an answer that does "
        "not depend on the features reaches as well.",
        "share of rows",
    )
    metrics: Mapping[str, str] = MappingProxyType({})
    exclusive = False
    has_classes = True

    def __init__(
        self,
        classes: list[str],
        loss: str | None = None,
        label_smoothing: float = 0.0,
        class_weight: dict[str, float] | str | None = None,
    ) -> None:
        super().__init__()
        self.classes, self.label_smoothing, self.class_weight = list(classes), label_smoothing, class_weight
        known = self.loss_names()
        loss = next(iter(known)) if loss is None else loss
        if loss not in known:
            raise SettingError(f"model.loss={loss!r} is not known for the task {self.name}; use {', '.join(known)}")
        if not 0 <= label_smoothing < 1 or (label_smoothing and not self.has_classes):
            must = (
                "must lie in [0, 1)" if self.has_classes else "is for classes, and this is a regression; leave it out"
            )
            raise SettingError(f"model.label_smoothing={label_smoothing!r} {must}")
        self._check_class_weight()
        self.criterion = self.make_loss(known[loss].module_class)
        self.__dict__["weighted"] = RowWeighted(
            self.criterion, divide_by="rows"
        )  # no submodule: it has the same buffers
        self.register_buffer("mean_weight", torch.ones(()))

    def _check_class_weight(self):
        weight, where = self.class_weight, f"model.class_weight={self.class_weight!r}"
        if weight is None:
            return
        if not self.has_classes:
            raise SettingError(f"{where} is for classes, and this is a regression; leave it out")
        if weight == "balanced":
            return
        if not isinstance(weight, dict):
            raise SettingError(
                f"{where} must be balanced, or name classes with their weights: {{{self.classes[-1]}: 2.0}}"
            )
        self.class_weight = {self._named(key): number for key, number in weight.items()}
        for name, number in self.class_weight.items():
            if name not in self.classes:
                raise SettingError(
                    f"{where} names {name!r}, which is no class; they are {', '.join(self.classes[:10])}"
                )
            if not (isinstance(number, int | float) and 0 < number < math.inf):
                raise SettingError(f"{where}: the weight of {name!r} must be a positive number")

    def _named(self, key):
        """The class that a key of YAML names: a class yes is read as true there, and a class 3 as a number."""
        if isinstance(key, bool):
            words = ("yes", "true", "on") if key else ("no", "false", "off")
            return next((name for name in self.classes if name.lower() in words), str(key))
        return str(key)

    @classmethod
    def loss_names(cls) -> dict[str, Loss]:
        """{name: rule} of the losses that the task may have, the default first."""
        found = {name.removesuffix("_loss"): rule for name, rule in rules(Loss).items() if cls.takes(rule)}
        return dict(sorted(found.items(), key=lambda item: item[0] != cls.default_loss))

    # what each task says

    default_loss = ""

    @classmethod
    def takes(cls, rule: Loss) -> bool:
        """Whether the task may have the loss of this rule."""
        raise NotImplementedError

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return len(self.classes)

    def make_loss(self, module: type) -> torch.nn.Module:
        """The loss of the network's outputs, a module of this class."""
        return module()

    def encode(self, y: torch.Tensor) -> torch.Tensor:
        """The target of the loss, of y as batches have it: scaled, or with smoothed labels."""
        return y

    def answers(self, z: torch.Tensor) -> torch.Tensor:
        """Probabilities or numbers, `(…, N, outputs)`, of the outputs Z, `(…, N, outputs)`."""
        raise NotImplementedError

    def outputs_for(self, answers: torch.Tensor) -> torch.Tensor:
        """The outputs Z with these answers, of one shape: the inverse of `answers`. It takes float64, in which a
        probability next to 1 has a logarithm."""
        raise NotImplementedError

    def mean_answer(self, z: torch.Tensor, finite: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the members that are `finite`, `(groups, E)`, with the outputs Z, `(groups, E, N, outputs)`: the Z whose
        answer is the mean of theirs, `(groups, N, outputs)`, and the deviation of their answers, `(groups, N)`."""
        raise NotImplementedError

    def sums(self, z: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        """Sums over these rows, `(S, …)`, that are added up over all rows, and make the scores then."""
        raise NotImplementedError

    def scores(self, sums: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """{metric: score}, `(…)`, of the sums over all rows, and of the number or the weight of these."""
        raise NotImplementedError

    def truth(self, y: torch.Tensor) -> torch.Tensor | None:
        """Zeros and ones, `(N, outputs)`, whose ROC the answers have; None where there is none."""
        return None

    def constant(self, y: torch.Tensor, w: torch.Tensor, weighted: bool = True) -> torch.Tensor:
        """The Z, `(outputs)`, of the best answer that is the same for all rows; weighted: with `class_weight`."""
        raise NotImplementedError

    def columns(self, answers: torch.Tensor, spread: torch.Tensor | None = None) -> dict[str, object]:
        """What `predict` writes, name of the column: values, of answers `(N, outputs)`."""
        raise NotImplementedError

    def described(self, y: torch.Tensor, answer: torch.Tensor) -> tuple[str, str, float | None]:
        """Of a row with this y and answer, `(outputs)`: label and prediction in words, and the P of the label."""
        raise NotImplementedError

    # what all have

    def counted(self) -> str:
        """How many classes there are, in words."""
        return f"{len(self.classes)} classes"

    def shown(self) -> list[str]:
        """The metrics that `test` prints: the cross-entropy only once, where the loss is nothing else."""
        plain = not self.label_smoothing and self.class_weight is None
        return [name for name in self.metrics if name != "log_loss" or not plain]

    def fit(self, y: torch.Tensor, w: torch.Tensor | None = None) -> None:
        """Fit the buffers to the training rows: y as batches have it, and the weight of each row, `(N)`, or None."""
        if w is not None:
            if not w.sum() > 0:
                raise SettingError("data.weight: the weights of the training rows are all 0; name another column")
            self.mean_weight.copy_(w.double().mean())

    def counts(self, y, w):
        """The rows of each class, or their weight, `(K)`; every class has one.

        Raises:
            SettingError: a class without rows, with class_weight="balanced".
        """
        truth = self.truth(y).double()
        counts = truth.sum(0) if w is None else w.double() @ truth
        if self.class_weight == "balanced" and (counts == 0).any():
            name = self.classes[-counts.numel() :][int((counts == 0).nonzero()[0])]
            raise SettingError(f"model.class_weight=balanced: no training row has the class {name!r}; leave it out")
        return counts

    def target(self, y: torch.Tensor, w: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.nn.Module]:
        """The target and the loss for it, of rows with y and weights as batches have them."""
        w = self.row_weights(y, w)
        y = self.encode(y)
        return (y, self.criterion) if w is None else (with_weight(y.to(w.dtype), w), self.weighted)

    def row_weights(self, y, w):
        """The weight of each row in the loss, `(N)`, with the mean 1 over the training rows; or None."""
        return None if w is None else w / self.mean_weight

    def row_losses(self, z: torch.Tensor, y: torch.Tensor, doubt: float = 0.0) -> torch.Tensor:
        """ℓ of each row, `(…, N)`, of outputs Z and y as batches have it: without the rows' weights.

        doubt: the chance that the class of a row, or each of its labels, is none of its own but drawn, all alike; a
        regression has none.
        """
        if doubt and self.has_classes:
            y = (1 - doubt) * y + doubt / 2
        rule, y = rule_of(self.criterion), self.encode(y)
        options = rule.options_of(self.criterion)
        return rule.apply(z, y.expand_as(z), reduction="none", **options).mean(-1)

    def losses(self, z: torch.Tensor, y: torch.Tensor, w: torch.Tensor | None = None) -> torch.Tensor:
        """L of each member, `(…)`, as it is trained on."""
        losses, w = self.row_losses(z, y), None if w is None else w / self.mean_weight
        return (losses if w is None else losses * w).mean(-1)

    def constant_loss(self, y: torch.Tensor, w: torch.Tensor | None = None) -> float:
        """The least loss on these rows of one answer for all: what a network without features reaches."""
        p = self.mean_weight
        y = y.to(p) if y.is_floating_point() else y.to(p.device)
        w = p.new_ones(len(y)) if w is None else w.to(p)
        z = self.constant(y, w).expand(len(y), self.outputs)
        return float((self.row_losses(z, y) * w).sum() / w.sum())


def answer_columns(names, answers, spread, word="P({})"):
    """{name of a column: numbers} of the answers, `(N, outputs)`, and of their spread, if it is given."""
    columns = {word.format(name): p.numpy() for name, p in zip(names, answers.T, strict=True)}
    if spread is None:
        return columns
    return columns | {f"spread({name})": s.numpy() for name, s in zip(names, spread.T, strict=True)}


def weighted_sum(values, w):
    """Σ_n w_n v_n, over the last dimension."""
    return values.sum(-1) if w is None else (values * w).sum(-1)


def f1(hits, predicted, actual):
    """F1 of counts of rows: those of a class, predicted as it, those that are predicted as it, and those of it; 0 where
    there are none of either."""
    return torch.where(predicted + actual > 0, 2 * hits / (predicted + actual), 0)
