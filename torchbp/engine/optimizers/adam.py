"""`torchbp.Adam` and `torchbp.AdamW`: as torch's, with a step that goes forward, backward and downhill at once."""

from collections.abc import Sequence
from typing import Literal

import torch

from torchbp.engine.optimizers.adam_rule import UNSUPPORTED, adam_rule, count_of_each
from torchbp.engine.optimizers.optimizer import EngineOptimizer
from torchbp.engine.optimizers.optimizer_options import without_hooks
from torchbp.engine.optimizers.update_rule import check_group

Number = float | Sequence[float] | torch.Tensor


class _ByMoments(EngineOptimizer):
    """What both have in common: `torchbp.engine.optimizers.adam_rule`."""

    PER_MEMBER = "lr", "betas", "eps", "weight_decay"

    def __init__(self, model, options, amsgrad, **settings):
        check_group({"amsgrad": amsgrad}, UNSUPPORTED[:1], type(self).__name__)
        super().__init__(model, options, **settings)

    def _of_members(self, name, value):
        if name != "betas":
            return super()._of_members(name, value)
        if len(value) != 2:
            raise ValueError(
                f"betas={value!r} must be a pair, (β1, β2), each a number or a list of the members' numbers"
            )
        return tuple(super(_ByMoments, self)._of_members(f"betas[{i}]", beta) for i, beta in enumerate(value))

    def _rule(self, p, group, begun):
        return adam_rule(p, group, self.state.get(p, {}), self.active, begun)

    def _differ(self):
        return super()._differ() or any(state["step"].dim() for state in self.state.values() if state)

    def _spread_state(self):
        for state in self.state.values() if self.network.members else ():
            count_of_each(state, self.network.members)

    def _join_state(self):
        for state in self.state.values():
            if state and state["step"].dim() and (state["step"] == state["step"][0]).all():
                state["step"] = state["step"][0].clone()


class Adam(_ByMoments, torch.optim.Adam):
    r"""`torch.optim.Adam` of one network, or of an ensemble, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W, or dL/dW where the decay is decoupled
        M ← β1 M + (1 − β1) G;    V ← β2 V + (1 − β2) G²
        D = M / (1 − β1ᵗ) / (√V / √(1 − β2ᵗ) + ε), and decoupled D ← D + λ W;    W ← W − α D    in step t = 1, 2, …

    A step makes the gradient of one parameter, updates it, and frees the gradient before it makes the next one. `step`,
    `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of layers and activations that have a rule, ours or torch's.
        lr: α. betas: (β1, β2). eps: ε. weight_decay: λ. decoupled_weight_decay: as above. They are those of
            `torch.optim.Adam`, in its order. Of an ensemble lr, eps, weight_decay and each of the betas may be a list
            or tensor of a number for each member, as in `torchbp.SGD`.
        amsgrad: False; the engine has no formula for it.
        loss, chunk, compile, capture, max_grad_norm: as in `torchbp.SGD`, and so are `active`, `backprop_step`,
            `backprop_steps` and `fit`.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported.
        ValueError: a number out of range, or as many as there are not members; amsgrad=True.

    Example:
        >>> optimizer = torchbp.Adam(torchbp.nn.MLP(30, 16, 1), lr=0.01)
        >>> loss = optimizer.backprop_step(torch.randn(32, 30), torch.ones(32, 1))
    """

    _torch_step = without_hooks(torch.optim.Adam)

    def __init__(
        self,
        model: torch.nn.Module,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0,
        amsgrad: bool = False,
        *,
        decoupled_weight_decay: bool = False,
        loss: torch.nn.Module | None = None,
        chunk: int | None = None,
        compile: bool | Literal["auto"] = "auto",
        capture: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings = {
            "loss": loss,
            "chunk": chunk,
            "compile": compile,
            "capture": capture,
            "max_grad_norm": max_grad_norm,
        }
        super().__init__(model, numbers, amsgrad, **settings, decoupled_weight_decay=decoupled_weight_decay)


class AdamW(_ByMoments, torch.optim.AdamW):
    r"""`torch.optim.AdamW`: `torchbp.Adam` with decoupled weight decay.

        M ← β1 M + (1 − β1) dL/dW;    V ← β2 V + (1 − β2) (dL/dW)²
        W ← W − α (M / (1 − β1ᵗ) / (√V / √(1 − β2ᵗ) + ε) + λ W)    in step t = 1, 2, …

    Args, raises: as `torchbp.Adam`, without `decoupled_weight_decay`; weight_decay is 0.01 where it is left out.

    Example:
        >>> optimizer = torchbp.AdamW(torchbp.nn.MLP(30, 16, 1, members=3), lr=[1e-3, 3e-3, 1e-2], betas=(0.9, 0.99))
        >>> losses = optimizer.backprop_step(torch.randn(32, 30), torch.ones(32, 1))  # (3)
    """

    _torch_step = without_hooks(torch.optim.AdamW)

    def __init__(
        self,
        model: torch.nn.Module,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
        amsgrad: bool = False,
        *,
        loss: torch.nn.Module | None = None,
        chunk: int | None = None,
        compile: bool | Literal["auto"] = "auto",
        capture: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        numbers = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings = {
            "loss": loss,
            "chunk": chunk,
            "compile": compile,
            "capture": capture,
            "max_grad_norm": max_grad_norm,
        }
        super().__init__(model, numbers, amsgrad, **settings)
