"""The bases of the activations' Functions: of those whose derivative is a function of the output, and of the input.

    σ′ = A (1 − A)        tanh′ = 1 − A²        relu′ = [A > 0]        the others: f′(Z)

Each saves one tensor, A or Z. Both are arguments or results of the Function, and not tensors of its own; so
differentiating the derivative once more is right too: it goes through A, or from Z, back to the graph.
"""

import torch

from torchbp.ops._dispatch import VmappableFunction, save_for_jvp

REAL = {torch.float16, torch.bfloat16, torch.float32, torch.float64}  # what torch's kernels of real functions take


class ActivationFunction(VmappableFunction):
    """A = f(Z), elementwise, with dZ = dA ∘ conj(f′) as a function of dA and A."""

    @staticmethod
    def setup_context(ctx, inputs, a):
        ctx.save_for_backward(a)
        save_for_jvp(ctx, a)


class InputActivationFunction(VmappableFunction):
    """A = f(Z; constants), elementwise, with dZ = dA ∘ conj(f′) as a function of dA, Z and the constants.

    `ctx.constants` are those, in the order of `forward`.
    """

    @staticmethod
    def setup_context(ctx, inputs, a):
        z, *ctx.constants = inputs
        ctx.save_for_backward(z)
        save_for_jvp(ctx, z)
