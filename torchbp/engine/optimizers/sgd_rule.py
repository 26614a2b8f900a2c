"""How a parameter descends by SGD: the options of torch.optim.SGD's groups, as the terms and factors of an update."""

from typing import NamedTuple

import torch

from torchbp.engine.optimizers.update_rule import Common, check_group, is_used, number_like, of_device, rate_of
from torchbp.ops._accumulate import add_multiple


class _Fields(NamedTuple):
    rate: float | torch.Tensor
    decay: float | torch.Tensor = 0
    decay_step: float | torch.Tensor = 0
    decay_first: bool = False
    momentum_buffer: torch.Tensor | None = None
    momentum: float | torch.Tensor = 0
    undampened: float | torch.Tensor = 1
    nesterov: float | torch.Tensor | None = None


class SGDRule(Common, _Fields):
    """The factors of an update.

        without V    W ← W + decay_step W + rate dL/dW
        with V       V ← momentum V + undampened (dL/dW + decay W);   W ← W + rate V, or with nesterov
                     W ← W + decay_step W + rate dL/dW + rate nesterov V

    V is the momentum buffer. rate is −α, decay λ, decay_step −αλ, momentum μ and undampened 1 − τ, or 0 and 1 in the
    first step of a momentum buffer; nesterov is μ, or None. Where W + decay_step W would round to W, `decay_first` is
    true: rate then multiplies the sum dL/dW + decay W.
    """

    __slots__ = ()
    STATE = ("momentum_buffer",)

    def of_members(self, members):
        return SGDRule(*(v[members] if isinstance(v, torch.Tensor) and v.dim() else v for v in self))

    @property
    def kind(self):
        return "rule" if self.momentum_buffer is not None or self.decay_first or is_used(self.decay) else "rate"

    def without_rate(self):
        if self.momentum_buffer is None and isinstance(self.rate, torch.Tensor):
            return self._replace(rate=1)
        return None

    def descend(self, p, scale, accumulate, dz, saved):
        rate, decay, decay_step, decay_first, buffer, momentum, undampened, nesterov = self
        if buffer is not None:
            accumulate(buffer, dz, saved, momentum, undampened * scale)
            if is_used(decay):
                add_multiple(buffer, undampened * decay, p)
            if nesterov is None:
                add_multiple(p, rate, buffer)
                return
        if decay_first:
            gradient = p * decay
            accumulate(gradient, dz, saved, 1, scale)
            if buffer is not None:
                add_multiple(gradient, nesterov, buffer)
            add_multiple(p, rate, gradient)
            return
        if is_used(decay_step):  # not as a factor 1 − αλ of the product: that is rounded, in every step the same way
            add_multiple(p, decay_step, p)
        accumulate(p, dz, saved, 1, rate * scale)
        if buffer is not None:
            add_multiple(p, rate * nesterov, buffer)


def sgd_rule(p, group, state, active, begun):
    """The rule of p, which learns. `state` is what the optimizer keeps of p; `begun` gets a momentum buffer that begins
    now."""
    rule = without_momentum(group, active)
    momentum = number_like(p, group["momentum"])
    if not is_used(momentum):
        return rule
    nesterov = momentum if group["nesterov"] else None
    if "momentum_buffer" not in state or state["momentum_buffer"] is None:
        buffer = torch.zeros_like(p, requires_grad=False)
        begun[p] = {"momentum_buffer": buffer}
        momentum, undampened = 0, 1
    else:
        buffer = of_device(state, "momentum_buffer", p)
        undampened = 1 - group["dampening"]
        if undampened != 1 and isinstance(momentum, torch.Tensor):  # without momentum nothing is dampened
            undampened = torch.where(momentum == 0, 1, momentum.new_full((), undampened))
    if active is not None:  # the other members' momentum buffers stay as they are
        moves = number_like(p, active)
        momentum, undampened = momentum * moves + (1 - moves), undampened * moves
    return rule._replace(momentum_buffer=buffer, momentum=momentum, undampened=undampened, nesterov=nesterov)


def without_momentum(group, active):
    """The rule of a group without momentum.

    Raises:
        ValueError: an option of torch.optim.SGD that the engine has no formula for.
    """
    check_group(group, ("maximize", "differentiable"), "SGD")
    lr, decay = rate_of(group, active), group["weight_decay"]
    if not is_used(decay):
        return SGDRule(-lr)
    p = group["params"][0]
    decay_step = -lr * number_like(p, decay)
    decay_first = not isinstance(decay_step, torch.Tensor) and -decay_step < 16 * torch.finfo(p.dtype).eps
    return SGDRule(-lr, number_like(p, decay), decay_step, decay_first)
