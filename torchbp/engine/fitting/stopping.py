"""“Until the loss reaches its minimum”: whether it has, for one network or for each member of an ensemble."""

import collections

import torch

DESCENDS, PATIENCE, GRADIENT, NOT_FINITE = range(4)  # why a network stopped


class Minimum:
    """Whether each network still descends, asked once an epoch.

    A network stops when its loss has not fallen by more than `min_delta` in `patience` epochs, when the norm of its
    gradient is under `min_grad_norm`, or when its loss is nan or infinite. One that has stopped stays stopped.

    Args:
        min_delta, patience, min_grad_norm: as above.
        members: E, or None for one network: the shape of every tensor here is (E) or ().
    """

    of = "loss"

    def __init__(self, min_delta, patience, min_grad_norm=0.0, members=None):
        shape = () if members is None else (members,)
        self.min_delta, self.patience, self.min_grad_norm = min_delta, patience, min_grad_norm
        self.best = torch.full(shape, torch.inf, dtype=torch.float64)
        self.waited = torch.zeros(shape, dtype=torch.long)
        self.why = torch.full(shape, DESCENDS)
        self.epochs = torch.zeros(shape, dtype=torch.long)  # that each one has descended

    def __repr__(self):
        """Of one network a sentence; of an ensemble a line, and one for each reason, with the number of members."""
        epochs = self.epochs.flatten().tolist()
        networks = f"{len(epochs)} networks, " if self.why.dim() else ""
        first = f"{networks}after {_span(epochs)} epochs, {self.lowest_words()}: "
        if not self.why.dim():
            return first + self.reason(self.why.item())
        counts = collections.Counter(self.why.tolist())
        return "\n  ".join([first.rstrip(), *(f"{counts[why]}: {self.reason(why)}" for why in sorted(counts))])

    def lowest_words(self):
        return f"lowest {self.of} {_span(self.best.flatten().tolist())}"

    def reason(self, why):
        """One of the values of `self.why` in words."""
        return {
            DESCENDS: f"the {self.of} still falls, and max_epochs is reached",
            PATIENCE: f"the {self.of} has not fallen by more than {self.min_delta:g} in {self.patience} epochs",
            GRADIENT: f"the norm of the gradient is under {self.min_grad_norm:g}",
            NOT_FINITE: f"the {self.of} is nan or infinite; a smaller lr helps",
        }[why]

    @property
    def active(self):
        return self.why == DESCENDS

    def update(self, loss, grad_norm=None):
        """Take the losses of an epoch, and the norms of the gradients at its end, on the CPU. Returns `active`."""
        loss, active = loss.double(), self.active
        self.epochs += active
        better = loss < self.best - self.min_delta
        self.best = torch.where(active & better, loss, self.best)
        self.waited = torch.where(active, torch.where(better, 0, self.waited + 1), self.waited)
        self.stop(active & (self.waited >= self.patience), PATIENCE)
        if grad_norm is not None:
            self.stop(active & (grad_norm < self.min_grad_norm), GRADIENT)
        self.stop(active & ~loss.isfinite(), NOT_FINITE)
        return self.active

    def stop(self, which, why):
        self.why = torch.where(which, why, self.why)

    def state_dict(self):
        return {name: getattr(self, name) for name in ("best", "waited", "why", "epochs")}

    def load_state_dict(self, state):
        for name, value in state.items():
            setattr(self, name, value.clone())


class ValidationMinimum(Minimum):
    """The same of the validation loss. `lowest` is the lowest one, and `lowest_epochs` the epoch that it was after,
    whose weights `fit` puts back; `best` may lie above it, by less than `min_delta`."""

    of = "validation loss"

    def __init__(self, min_delta, patience, min_grad_norm=0.0, members=None):
        super().__init__(min_delta, patience, min_grad_norm, members)
        self.lowest, self.lowest_epochs = self.best.clone(), torch.zeros_like(self.epochs)
        self.lower = torch.zeros_like(self.active)  # whether the loss of the last epoch was the lowest so far

    def update(self, loss, grad_norm=None):
        self.lower = self.active & (loss < self.lowest)
        self.lowest = torch.where(self.lower, loss.double(), self.lowest)
        active = super().update(loss, grad_norm)
        self.lowest_epochs = torch.where(self.lower, self.epochs, self.lowest_epochs)
        return active

    def lowest_words(self):
        lowest, epochs = (_span(t.flatten().tolist()) for t in (self.lowest, self.lowest_epochs))
        return f"lowest validation loss {lowest} in epoch {epochs}, whose weights are put back"


def _span(numbers):
    """The only number, or the smallest and the largest."""
    low, high = (f"{number:.4g}" for number in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"
