"""`torchbp.SGD`: gradient descent whose step goes forward, backward and downhill at once, and holds no gradient."""

import torch

from torchbp.engine.layers import Layers
from torchbp.engine.losses import checked_loss, value_and_derivative
from torchbp.ops.linear import add_dbias, add_dweight


class SGD(torch.optim.SGD):
    r"""`torch.optim.SGD` of one network, with a step that needs no graph and stores no gradient.

        G = dL/dW + λ W;    V ← μ V + (1 − τ) G, and V = G in the first step;    W ← W − α V
        with nesterov      W ← W − α (G + μ V)

    Without momentum the update of a weight is one GEMM that accumulates, `W ← (1 − αλ) W − α dZᵀ A`; with it,
    `V ← μ V + (1 − τ) dZᵀ A` is one. `step`, `param_groups`, `state_dict` and learning-rate schedulers are torch's.

    Args:
        model: an `MLP`, or a `torch.nn.Sequential` of Linear, Sigmoid, Tanh and ReLU, ours or torch's.
        lr: α. momentum: μ. dampening: τ. weight_decay: λ. nesterov: as in `torch.optim.SGD`.
        loss: as in `torchbp.backprop`.

    Raises:
        TypeError: a layer, hook, parametrization or loss that is not supported.

    Example:
        >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1), lr=0.5)
        >>> loss = optimizer.backprop_step(torch.randn(32, 30), torch.ones(32, 1))
    """

    def __init__(self, model, lr=1e-3, momentum=0, weight_decay=0, dampening=0, nesterov=False, loss=None):
        self.layers, self.loss = Layers(model), checked_loss(loss)
        super().__init__(model.parameters(), lr, momentum, dampening, weight_decay, nesterov)

    @torch.no_grad()
    def backprop_step(self, x, y):
        """One step of gradient descent on the rows x, y. It neither reads nor writes `.grad`.

        Returns:
            L of before the step, a scalar tensor: reading it is the caller's, so that a GPU is not waited for.
        """
        self.layers.check_hooks()
        outputs = self.layers.forward(x)
        value, derivative, scale = value_and_derivative(self.loss, outputs[-1], y)
        groups = {p: group for group in self.param_groups for p in group["params"]}
        for weight, bias, dz, a in self.layers.backward(outputs, derivative):
            if weight.requires_grad:
                self.descend(weight, groups[weight], scale, add_dweight, dz, a)
            if bias is not None and bias.requires_grad:
                self.descend(bias, groups[bias], scale, add_dbias, dz)
        self._opt_called = True  # what learning-rate schedulers ask for
        return value

    def descend(self, p, group, scale, add, *factors):
        """p ← p − α V. `add(out, *factors, β, s)` is out ← β out + s dL/dp, but for the factor `scale` of dL."""
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        if not momentum:
            add(p, *factors, 1 - lr * decay, -lr * scale)
            return
        state = self.state[p]
        velocity = state.get("momentum_buffer")
        if velocity is None:
            velocity, beta, share = torch.zeros_like(p), 0, 1
            state["momentum_buffer"] = velocity
        else:
            beta, share = momentum, 1 - group["dampening"]
        add(velocity, *factors, beta, share * scale)
        if decay:
            velocity.add_(p, alpha=share * decay)
        if group["nesterov"]:
            add(p, *factors, 1 - lr * decay, -lr * scale)
            p.add_(velocity, alpha=-lr * momentum)
        else:
            p.add_(velocity, alpha=-lr)
