"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

from collections.abc import Sequence
from typing import Literal

import torch

from torchbp.engine.optimizers.optimizer import EngineOptimizer
from torchbp.engine.optimizers.optimizer_options import without_hooks
from torchbp.engine.optimizers.sgd_rule import sgd_rule, without_momentum
from torchbp.engine.optimizers.update_rule import is_used


class SGD(EngineOptimizer, torch.optim.SGD):
    r"""`torch.optim.SGD` of one network, or of an ensemble, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W;    V ← μ V + (1 − τ) G, and V = G in the first step;    W ← W − α V
        with nesterov      W ← W − α (G + μ V)

    Without momentum the update of a weight is one GEMM that accumulates, `W ← (1 − αλ) W − α dZᵀ A`; with it,
    `V ← μ V + (1 − τ) dZᵀ A` is one. `step`, `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of layers and activations that have a rule, ours or torch's.
        lr: α. momentum: μ. dampening: τ. weight_decay: λ. nesterov: as in `torch.optim.SGD`, and in its order. Of an
            ensemble lr, momentum and weight_decay may each be a list or tensor of a number for each member. A group
            then holds those of lr as `lr_of_members`, and its lr is their factor, 1, which schedulers change.
        loss: as in `torchbp.backprop`.
        chunk: how many members of an ensemble go through a step at once, which bounds its memory; None is all.
        compile: whether `backprop_steps` and `fit` make their steps in one call of a program in C, and `backprop_step`
            its own from the eleventh on rows of a shape. It is made of the trace of a step for each shape of the rows,
            in a second or two, and is kept on disk. It needs a C compiler, gcc or clang. "auto" compiles in `fit` once
            the epochs to come would take some seconds without, and other steps after 20,000 calls of `backprop_step`.
        capture: whether `backprop_step` is a CUDA graph, for each shape of the rows anew. Of these graphs, and of the
            programs of `compile`, the 32 that were used last are kept.
        max_grad_norm: c, of a gradient that is clipped: the steps are by G min(1, c / (‖G‖₂ + 1e-6)), of each member
            its own; None is G as it is. The whole gradient is in memory then.

    `active`, None or a tensor of a bool for each member, says which of them descend. The others keep their weights and
    velocities, if their rows are finite numbers.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported.
        ValueError: a number that is negative or not finite, or as many as there are not members.

    Example:
        >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1), lr=0.5)
        >>> loss = optimizer.backprop_step(torch.randn(32, 30), torch.ones(32, 1))
        >>> lr = [0.1, 0.2, 0.5, 1.0]
        >>> losses = torchbp.SGD(torchbp.nn.MLP(30, 16, 1, members=4), lr=lr).backprop_step(
        ...     torch.randn(32, 30), torch.ones(32, 1)
        ... )  # (4)
    """

    PER_MEMBER = "lr", "momentum", "weight_decay"
    _torch_step = without_hooks(torch.optim.SGD)

    def __init__(
        self,
        model: torch.nn.Module,
        lr: float | Sequence[float] | torch.Tensor = 1e-3,
        momentum: float | Sequence[float] | torch.Tensor = 0,
        dampening: float = 0,
        weight_decay: float | Sequence[float] | torch.Tensor = 0,
        nesterov: bool = False,
        *,
        loss: torch.nn.Module | None = None,
        chunk: int | None = None,
        compile: bool | Literal["auto"] = "auto",
        capture: bool = False,
        max_grad_norm: float | None = None,
    ) -> None:
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        settings = {"loss": loss, "chunk": chunk, "compile": compile, "capture": capture}
        super().__init__(
            model, numbers, **settings, max_grad_norm=max_grad_norm, dampening=dampening, nesterov=nesterov
        )

    def _rule(self, p, group, begun):
        return sgd_rule(p, group, self.state.get(p, {}), self.active, begun)

    def _rule_of_all(self, group):
        return None if is_used(group["momentum"]) else without_momentum(group, self.active)

    def _is_first(self):
        """Whether the next step is the first one of a parameter with momentum."""
        return any(
            p.requires_grad and "momentum_buffer" not in self.state.get(p, ())
            for group in self.param_groups
            if is_used(group["momentum"])
            for p in group["params"]
        )
