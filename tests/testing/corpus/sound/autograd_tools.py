"""What people do with autograd: checkpoints, hooks, saved tensors elsewhere, gradients of gradients."""

import torch
from torch.utils.checkpoint import checkpoint

from tests.testing.corpus.entry import Sound, draw


def recomputed(x):
    return checkpoint(lambda y: y.tanh() * y.sigmoid(), x, use_reentrant=False)


def recomputed_reentrant(x):
    return checkpoint(lambda y: y.tanh() * y.sigmoid(), x, use_reentrant=True)


def offloaded(x):
    """Saved tensors go elsewhere, and come back."""

    def pack(tensor):
        return tensor.detach().clone(), tensor.dtype

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed[0].to(packed[1])):
        return (x.sin() * x).exp()


def penalised(x):
    """The norm of a gradient, as of a penalty."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(y.sin().sum(), y, create_graph=True)
    return slope.square().sum()


def jacobian_inside(x):
    return torch.func.vmap(torch.func.grad(lambda row: row.sin().prod()))(x)


def hooked(x):
    """A hook on an inner tensor only looks at the gradient."""
    y = x.exp()
    if y.requires_grad:
        y.register_hook(lambda g: None)
    return y * y


SOUND = [
    Sound("checkpointed", recomputed, lambda: (draw(2, 3),)),
    Sound("checkpointed_reentrant", recomputed_reentrant, lambda: (draw(2, 3),)),
    Sound("saved_tensors_elsewhere", offloaded, lambda: (draw(2, 3),)),
    Sound("gradient_of_a_gradient", penalised, lambda: (draw(3),)),
    Sound("transforms_inside", jacobian_inside, lambda: (draw(2, 3),)),
    Sound("hook_that_looks", hooked, lambda: (draw(3),)),
]
