"""Packages of activations and small layers with backwards of their own."""

import torch

from tests.testing.packages.subject import Subject, numbers


def timm():
    from timm.layers import activations_me as memory_efficient
    from timm.loss import AsymmetricLossMultiLabel, JsdCrossEntropy

    for name in ("swish", "mish", "hard_sigmoid", "hard_swish", "hard_mish"):
        yield Subject(f"{name}_me", getattr(memory_efficient, f"{name}_me"), numbers(3, 5))
    targets = (numbers(4, 5) > 0).double().detach()
    yield Subject(
        "AsymmetricLossMultiLabel",
        AsymmetricLossMultiLabel(disable_torch_grad_focal_loss=False),
        (numbers(4, 5), targets),
    )
    vanishes = "defect: where a probability is 0, as of logits 1000 apart, the gradient is nan"
    known = {"extremes": vanishes, "magnitudes": vanishes}
    yield Subject("JsdCrossEntropy", JsdCrossEntropy(num_splits=3), (numbers(6, 5), targets.argmax(1)[:2]), known)


def geffnet():
    from geffnet.activations import activations_me as memory_efficient

    for name in ("swish", "mish", "hard_sigmoid", "hard_swish"):
        yield Subject(f"{name}_me", getattr(memory_efficient, f"{name}_me"), numbers(3, 5))


def efficientnet_pytorch():
    from efficientnet_pytorch.utils import MemoryEfficientSwish

    yield Subject("MemoryEfficientSwish", MemoryEfficientSwish(), numbers(3, 5))


def megatron_core():
    torch._dynamo.config.disable = True  # its formulas are compiled
    from megatron.core.fusions.fused_bias_geglu import bias_geglu_impl
    from megatron.core.fusions.fused_bias_gelu import bias_gelu_impl
    from megatron.core.fusions.fused_bias_swiglu import bias_swiglu_impl, weighted_bias_swiglu_impl

    square = {"precision": "defect: in float16 the square of 800 overflows, and 0 times infinity is nan"}
    eight_bits = {"variations": "convention: with fp8_input_store the saved input has 8 bits"}
    yield Subject("bias_gelu_impl", bias_gelu_impl, (numbers(3, 6), numbers(6)), square)
    yield Subject("bias_geglu_impl", bias_geglu_impl, (numbers(3, 6), numbers(6)), square)
    yield Subject("bias_swiglu_impl", bias_swiglu_impl, (numbers(3, 6), numbers(6)), eight_bits)
    yield Subject(
        "weighted_bias_swiglu_impl", lambda x, w: weighted_bias_swiglu_impl(x, None, w), (numbers(3, 6), numbers(3, 1))
    )


def pytorch_revgrad():
    from pytorch_revgrad import RevGrad

    yield Subject("RevGrad", RevGrad(alpha=0.5), numbers(3, 4), options={"surrogate": lambda module, x: -0.5 * x})


def sinabs():
    from sinabs.activation import Quantize

    yield Subject("Quantize", Quantize.apply, numbers(3, 4), options={"surrogate": lambda x: x})


def brevitas():
    from brevitas.function import ops_ste

    for name in ("round_ste", "ceil_ste", "floor_ste", "binary_sign_ste", "ternary_sign_ste", "dpu_round_ste"):
        yield Subject(name, getattr(ops_ste, name), numbers(3, 4), options={"surrogate": lambda x: x})
    yield Subject("abs_binary_sign_grad", ops_ste.abs_binary_sign_grad, numbers(3, 4))


def torchrl():
    from torchrl.modules.distributions.utils import safeatanh, safetanh

    bounded = "convention: beyond its bound, 1 − eps, the gradient is that at the bound"
    yield Subject("safetanh", lambda x: safetanh(x, 1e-6), numbers(3, 4), {"extremes": bounded, "magnitudes": bounded})
    yield Subject(
        "safeatanh",
        lambda x: safeatanh(x, 1e-6),
        (numbers(3, 4).tanh() * 0.9).detach().requires_grad_(),
        options={"domain": (-1, 1)},
    )


def mambapy():
    from mambapy.pscan import pscan

    twice = {"second_order": "defect: the double backward raises, since it writes into what it has saved"}
    yield Subject("pscan", pscan, (numbers(2, 4, 3, 2), numbers(2, 4, 3, 2)), twice)
    yield Subject("pscan, length 5", pscan, (numbers(2, 5, 3, 2), numbers(2, 5, 3, 2)), twice)


def memcnn():
    from memcnn import AdditiveCoupling, InvertibleModuleWrapper

    layer = torch.nn.Linear(3, 3)
    wrapped = InvertibleModuleWrapper(AdditiveCoupling(layer), keep_input=True, num_bwd_passes=100)
    known = {
        "values": "defect: with keep_input the gradient of an input that is a leaf is doubled",
        "memory": "defect: outputs are kept on ctx, and only the garbage collector frees them",
        "module": "defect: it keeps the parameters, and raises if functional_call gives others",
    }
    yield Subject("AdditiveCoupling", wrapped, numbers(4, 6), known)


def reformer_pytorch():
    from reformer_pytorch.reversible import ReversibleSequence

    blocks = torch.nn.ModuleList([torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)])])
    words = "convention: the backward adds the gradients of the parameters to their .grad itself"
    checks = ("checkpointing", "memory", "module", "precision", "second_order", "side_effects", "values")
    yield Subject("ReversibleSequence", ReversibleSequence(blocks), numbers(2, 4, 6), dict.fromkeys(checks, words))
