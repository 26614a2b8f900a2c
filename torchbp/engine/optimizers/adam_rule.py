"""How a parameter descends by Adam: the options of torch.optim.Adam's groups, as the terms and factors of an update."""

from typing import NamedTuple

import torch

from torchbp.engine.optimizers.update_rule import Common, check_group, is_used, number_like, of_device, rate_of
from torchbp.ops._accumulate import add_multiple, per_member

UNSUPPORTED = "amsgrad", "maximize", "differentiable"
ONE = torch.ones((), dtype=torch.float32, device="cpu")


class _Fields(NamedTuple):
    rate: float | torch.Tensor
    beta1: float | torch.Tensor
    beta2: float | torch.Tensor
    eps: float | torch.Tensor
    decay: float | torch.Tensor
    decoupled: bool
    moves: float | torch.Tensor
    in_one_kernel: bool
    decays_apart: bool
    step: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor


class AdamRule(Common, _Fields):
    """The factors of an update.

        G = dL/dW + decay W, or dL/dW where the decay is decoupled
        t ← t + 1;   M ← β1 M + (1 − β1) G;   V ← β2 V + (1 − β2) G²
        D = M / (1 − β1ᵗ) / (√V / √(1 − β2ᵗ) + ε), and decoupled D ← D + decay W;   W ← W + rate D

    rate is −α and decay λ; t, M and V are `step`, `exp_avg` and `exp_avg_sq`. moves is 1, or a tensor with a 1 for each
    member that descends and a 0 for each that keeps W, M, V and t. `in_one_kernel` is true where β1, β2 and ε are
    numbers and all members descend: torch's fused kernel computes D then, and where α and λ are numbers, W too.
    `decays_apart` is true where that kernel would round the factor 1 − αλ of a decoupled decay by 1 % of αλ or more:
    the update is then made in memory of its own.
    """

    __slots__ = ()
    STATE = ("step", "exp_avg", "exp_avg_sq")
    COUNTS = ("step",)

    def of_members(self, members):
        """The same t of all members counts once: all slices but the last one get a copy of it."""
        rule = AdamRule(*(v[members] if isinstance(v, torch.Tensor) and v.dim() else v for v in self))
        if self.step.dim() or not isinstance(members, slice) or members.stop >= len(self.exp_avg):
            return rule
        return rule._replace(step=self.step.clone())

    def with_tensors(self, x, made=None):
        return super().with_tensors(x, made)._replace(in_one_kernel=False, decays_apart=False)

    def dtype_of_numbers(self, x):
        return precise_dtype(x.device)  # in float32 1 − 0.999 has an error of 1e-5

    def descend(self, p, scale, accumulate, dz, saved):
        gradient = torch.empty_like(p)
        accumulate(gradient, dz, saved, 0, scale)  # of β = 0, what is there is not read
        if self.in_one_kernel:
            self.update_in_one_kernel(p, gradient)
        else:
            self.update(p, gradient)

    def update(self, p, gradient):
        """The update of p by operations of tensors. It writes over the gradient."""
        rate, beta1, beta2, eps, decay, decoupled, moves, _, _, step, m, v = self
        step.add_(moves)
        t = step.to(precise_dtype(p.device))
        keep1, keep2 = beta1, beta2
        if isinstance(moves, torch.Tensor):
            t = t.clamp(min=1)  # of members that have not begun
            stays = 1 - moves
            keep1, keep2, eps = beta1 * moves + stays, beta2 * moves + stays, eps + stays
            gradient.mul_(per_member(number_like(p, moves), p))
        if is_used(decay) and not decoupled:
            add_multiple(gradient, number_like(p, decay * moves), p)
        times_(m, keep1)
        add_multiple(m, number_like(p, 1 - beta1), gradient)
        times_(v, keep2)
        add_multiple(v, number_like(p, 1 - beta2), gradient * gradient)
        root = times_(v.sqrt(), (1 - beta2**t).rsqrt())
        root.add_(per_member(number_like(p, eps), p) if isinstance(eps, torch.Tensor) else eps)
        change = times_(m / root, 1 / (1 - beta1**t))
        if is_used(decay) and decoupled:  # in one sum with the rest: W − αλ W alone may round to W
            add_multiple(change, number_like(p, decay), p)
        add_multiple(p, number_like(p, rate), change)

    def update_in_one_kernel(self, p, gradient):
        rate, beta1, beta2, eps, decay, decoupled, _, _, apart, step, m, v = self
        step.add_(ONE)  # a tensor: the number 1 would be made one first, at twice the cost
        descends, of_members = p, isinstance(rate, torch.Tensor) or isinstance(decay, torch.Tensor)
        if of_members:  # the kernel takes D from −λW, or from 0, at the rate 1
            if is_used(decay) and not decoupled:
                add_multiple(gradient, number_like(p, decay), p)
            descends = p * -per_member_or_number(decay, p) if is_used(decay) and decoupled else torch.zeros_like(p)
            rate, decay, own_rate = -1, 0, rate
        elif apart:  # the kernel adds its part to −αλ W, which is small too, and not to W
            descends, decay = p * (rate * decay), 0
        kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        options = {"lr": -rate, "beta1": beta1, "beta2": beta2, "weight_decay": decay, "eps": eps}
        kernel([descends], [gradient], [m], [v], [], [step], **options, amsgrad=False, maximize=False)
        if of_members:
            add_multiple(p, -own_rate, descends)
        elif apart:
            p.add_(descends)


def times_(out, factor):
    """out ← factor out in place."""
    return out.mul_(per_member_or_number(factor, out))


def per_member_or_number(factor, tensor):
    return per_member(number_like(tensor, factor), tensor) if isinstance(factor, torch.Tensor) else factor


def precise_dtype(device):
    return torch.float32 if device.type == "mps" else torch.float64


def adam_rule(p, group, state, active, begun):
    """The rule of p, which learns. `state` is what the optimizer keeps of p; `begun` gets it if it begins now.

    Raises:
        ValueError: an option of torch.optim.Adam that the engine has no formula for.
    """
    check_group(group, UNSUPPORTED, "AdamW" if group["decoupled_weight_decay"] else "Adam")
    if not state:
        zeros = {name: torch.zeros_like(p, requires_grad=False) for name in ("exp_avg", "exp_avg_sq")}
        begun[p] = state = {"step": torch.zeros((), dtype=torch.float32, device=p.device), **zeros}
    m, v = of_device(state, "exp_avg", p), of_device(state, "exp_avg_sq", p)
    if active is not None:
        count_of_each(state, len(p))
    if state["step"].device != p.device:
        state["step"] = state["step"].to(p.device)
    numbers = (
        -rate_of(group, active),
        *(precise(beta, p) for beta in group["betas"]),
        *(number_like(p, group[name]) for name in ("eps", "weight_decay")),
    )
    moves = 1 if active is None else number_like(p, active)
    in_one_kernel = (
        active is None
        and not state["step"].dim()
        and p.device.type in ("cpu", "cuda")
        and not any(isinstance(number, torch.Tensor) for number in numbers[1:4])  # β1, β2 and ε
    )
    decoupled = group["decoupled_weight_decay"]
    rate, decay = numbers[0], numbers[4]
    of_members = isinstance(rate, torch.Tensor) or isinstance(decay, torch.Tensor)
    apart = in_one_kernel and decoupled and not of_members and is_rounded(rate * decay, p.dtype)
    return AdamRule(*numbers, decoupled, moves, in_one_kernel, apart, state["step"], m, v)


def count_of_each(state, members):
    """Let each member count its own steps, as the state of a parameter."""
    if not state["step"].dim():
        state["step"] = state["step"].repeat(members)


def precise(beta, p):
    """β; of a tensor, one that 1 − β is precise of."""
    return beta.to(p.device, precise_dtype(p.device)) if isinstance(beta, torch.Tensor) else beta


def is_rounded(decay_step, dtype):
    """Whether −αλ is under 50 units of the rounding of 1, of which 1 − αλ loses half a one."""
    return 0 < abs(decay_step) < 50 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps
