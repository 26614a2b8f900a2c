"""One pass over the validation or the test rows, and the metrics that it gives."""

import torch

from torchbp.training.model.auroc import area_under_roc
from torchbp.training.model.scores import Scores


class Evaluation:
    """The scores of a `Classifier` over one pass: of the network, or of the members that answer together.

    During `fit` all members are scored, in groups of one learning rate, and those of the best group are chosen.
    """

    def __init__(self, model):
        self.model, self.trainer = model, model.trainer
        self.is_fitting = self.trainer.state.fn == "fit"
        self.scores = Scores(model.loss.pos_weight, exclusive=not (model.binary or model.hparams.multilabel))
        self.answers = []  # P and y of each batch, for the ROC of a network with one output

    def add(self, batch):
        x, y = batch
        z, model = self.model(x), self.model
        if not model.members:
            z = z[None, None]
        elif self.is_fitting:
            z = z.unflatten(0, (model.groups, -1))
        else:
            z = z[model.chosen][None]
        p = self.scores.add(z, y)
        if model.binary and not self.is_fitting:
            self.answers.append(torch.stack([p[0, :, 0], y[:, 0].to(p)]))

    def end_validation(self):
        members, groups = self._means()
        model = self.model
        if not self.is_fitting:
            self._log("val", members, groups)
        elif not self.trainer.sanity_checking:
            model.losses["val"] = members[0].flatten().cpu() if model.members else members[0, 0, 0].cpu()
            best = int(groups[0].nan_to_num(torch.inf, torch.inf).argmin())
            if model.members:
                model.choose(members, groups, best)
            names = ("loss", "accuracy", "spread") if model.members else ("loss", "accuracy")
            model.log_epoch({f"val/{name}": value for name, value in zip(names, groups[:, best], strict=False)})

    def end_test(self):
        self._log("test", *self._means())
        if self.model.binary and (area := area_under_roc(self.answers, self.trainer)) is not None:
            self.model.log("test/auroc", area, sync_dist=True)

    def _means(self):
        return self.scores.means(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))

    def _log(self, split, members, groups):
        metrics = {"loss": groups[0, 0], "accuracy": groups[1, 0]}
        if self.model.members:
            accuracy = members[1].flatten()
            metrics["spread"] = groups[2, 0]
            metrics["member_accuracy"] = accuracy.mean()
            metrics["member_accuracy_std"] = accuracy.std(correction=0)
        # The values are those of all processes already; without sync_dist, Lightning would warn.
        self.model.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)
