"""The base of the activations whose derivative is a function of their output A, so that A is all that they save.

    σ′ = A (1 − A)        tanh′ = 1 − A²        relu′ = [A > 0]

Since A is an output of the Function, and not a tensor of its own, differentiating the derivative once more is right
too: it goes through A back to Z.
"""

from torchbp.ops._dispatch import VmappableFunction, save_for_jvp


class ActivationFunction(VmappableFunction):
    """A = f(Z), elementwise, with dZ = dA ∘ conj(f′) as a function of dA and A."""

    @staticmethod
    def setup_context(ctx, inputs, a):
        ctx.save_for_backward(a)
        save_for_jvp(ctx, a)
