"""Scores of the validation and test rows, as the hooks of Lightning, and which members of an ensemble answer."""

import torch

from torchbp.training.model.scores import Scores


class Evaluation:
    """The part of `Classifier` that is scored: one network, or the members `chosen` of an ensemble, by their mean P.

    Of a sweep, those are chosen at each validation of `fit`: the members of the lr whose mean P has the lowest loss.
    `best_scores` `(5, groups)` and `best_epoch` `(groups)` are of the validation where that loss of an lr was lowest:
    it, and the mean and the deviation of its members' own losses and of their own accuracies.
    """

    def on_validation_epoch_start(self):
        self.scores = Scores(self.loss.pos_weight, exclusive=not (self.binary or self.hparams.multilabel))

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch):
        x, y = batch
        z = self(x)
        if not self.members:
            z = z[None, None]
        elif self.fits:
            z = z.unflatten(0, (self.groups, -1))
        else:
            z = z[self.chosen][None]
        return self.scores.add(z, y)

    def test_step(self, batch):
        p = self.validation_step(batch)
        if self.auroc is not None:
            self.auroc.update(p[0, :, 0], batch[1][:, 0].long())

    @property
    def fits(self):
        return self.trainer.state.fn == "fit"

    def on_validation_epoch_end(self):
        members, groups = self.means()
        if not self.fits:
            self.log_scores("val", members, groups)
        elif not self.trainer.sanity_checking:
            self.losses["val"] = members[0].flatten().cpu() if self.members else members[0, 0, 0].cpu()
            best = int(groups[0].nan_to_num(torch.inf, torch.inf).argmin())
            if self.members:
                self.choose(members, groups, best)
            names = ("loss", "accuracy", "spread") if self.members else ("loss", "accuracy")
            self.record({f"val/{name}": value for name, value in zip(names, groups[:, best], strict=False)})

    def on_test_epoch_end(self):
        self.log_scores("test", *self.means())
        if self.auroc is not None:
            self.log("test/auroc", self.auroc)

    def means(self):
        return self.scores.means(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))

    def log_scores(self, split, members, groups):
        found = {"loss": groups[0, 0], "accuracy": groups[1, 0]}
        if self.members:
            own = members[1].flatten()
            found |= {
                "spread": groups[2, 0],
                "member_accuracy": own.mean(),
                "member_accuracy_std": own.std(correction=0),
            }
        self.log_dict({f"{split}/{name}": value for name, value in found.items()}, sync_dist=True)  # the same in all

    def choose(self, members, groups, best):
        alive = members[0].isfinite()
        if alive[best].any():
            self.chosen.zero_().view(self.groups, -1)[best] = alive[best]
        finite = torch.where(alive, members, torch.nan)
        mean = finite.nanmean(-1)
        deviation = (finite - mean[..., None]).square().nanmean(-1).sqrt()
        scores = torch.stack([groups[0], mean[0], deviation[0], mean[1], deviation[1]]).to(self.best_scores.dtype)
        better = scores[0] < self.best_scores[0]
        self.best_scores.copy_(torch.where(better, scores, self.best_scores))
        self.best_epoch.masked_fill_(better, self.current_epoch + 1)
