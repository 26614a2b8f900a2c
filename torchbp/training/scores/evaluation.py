"""One pass over the validation or the test rows, and the metrics that it gives."""

import torch

from torchbp.training.scores.auroc import area_under_roc, gathered
from torchbp.training.scores.scores import Scores


class Evaluation:
    """The scores of a `Network` over one pass: of the network, or of the members that answer together.

    During `fit` all members are scored, in groups of one learning rate, and those of the best group are chosen.
    """

    def __init__(self, model):
        self.model, self.trainer, self.task = model, model.trainer, model.task
        self.is_fitting = self.trainer.state.fn == "fit"
        self.scores = Scores(model.task)
        # the area under the ROC needs the answers to all rows; while training goes on only if it is asked for
        self.takes_area = "auroc" in self.task.metrics and (
            not self.is_fitting or "val/auroc" in monitors(self.trainer)
        )
        self.answers = []  # of each batch: of each network its answers, then the truth, then the rows' weights

    def add(self, batch, **of_forward):
        """Add the rows of a batch. of_forward: arguments of the model beside x."""
        x, y, *w = batch
        w = w[0] if w else None
        z, model = self.model(x, **of_forward), self.model
        if not model.members:
            z = z[None, None]
        elif self.is_fitting:
            z = z.unflatten(0, (model.groups, -1))
        else:
            z = z[model.chosen][None]
        mean = self.scores.add(z, y, w)
        if self.takes_area:
            networks = torch.cat([z.flatten(0, 1), mean.to(z.dtype)]) if self.is_fitting else mean
            answers = self.task.answers(networks).transpose(1, 2).flatten(0, 1)
            ones = answers.new_ones(1, len(x)) if w is None else w.to(answers)[None]
            self.answers.append(torch.cat([answers, self.task.truth(y).T.to(answers), ones]))

    def end_validation(self):
        members, groups = self._means()
        model = self.model
        if not self.is_fitting:
            self._log("val", members, groups)
        elif not self.trainer.sanity_checking:
            of_each = {name: score.flatten().cpu() for name, score in members.items()}
            model.val_scores = of_each if model.members else {name: score[0] for name, score in of_each.items()}
            if model.plateau is not None:
                model.plateau.update(model.val_scores["loss"])
            best = int(groups["loss"].nan_to_num(torch.inf, torch.inf).argmin())
            if model.members:
                model.choose(members, groups, best)
            else:
                del groups["spread"]
            model.log_epoch({f"val/{name}": score[best] for name, score in groups.items()})

    def end_test(self):
        self._log("test", *self._means())

    def _means(self):
        """As `Scores.means`, and the areas under the ROC."""
        members, groups = self.scores.means(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        if not self.takes_area:
            return members, groups
        *answers, w = gathered(torch.cat(self.answers, 1), self.trainer)
        outputs = self.task.outputs
        networks, truth = torch.stack(answers[:-outputs]).unflatten(0, (-1, outputs)), torch.stack(answers[-outputs:])
        areas = [area_under_roc(p.T, truth.T, w) for p in networks]
        if areas[0] is not None:
            areas = torch.stack(areas).to(groups["loss"])
            count = len(groups["loss"])
            groups["auroc"] = areas[-count:]
            if len(areas) > count:
                members["auroc"] = areas[:-count].view_as(members["loss"])
        return members, groups

    def _log(self, split, members, groups):
        score = self.task.score
        metrics = {name: groups[name][0] for name in groups if name in self.task.shown() or "/" in name}
        if self.model.members:
            of_each = members[score].flatten()
            metrics["spread"] = groups["spread"][0]
            metrics[f"member_{score}"] = of_each.mean()
            metrics[f"member_{score}_std"] = of_each.std(correction=0)
        # The values are those of all processes already; without sync_dist, Lightning would warn.
        self.model.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, sync_dist=True)


def monitors(trainer):
    """The metrics that the callbacks of a trainer watch."""
    return {callback.monitor for callback in trainer.callbacks if getattr(callback, "monitor", None)}
