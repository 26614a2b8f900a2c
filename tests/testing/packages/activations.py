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
    yield Subject("JsdCrossEntropy", JsdCrossEntropy(num_splits=3), (numbers(6, 5), targets.argmax(1)[:2]))


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

    yield Subject("bias_gelu_impl", bias_gelu_impl, (numbers(3, 6), numbers(6)))
    yield Subject("bias_geglu_impl", bias_geglu_impl, (numbers(3, 6), numbers(6)))
    yield Subject("bias_swiglu_impl", bias_swiglu_impl, (numbers(3, 6), numbers(6)))
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
    low, high = (numbers(3, 4).detach() * 0 + bound for bound in (-1.0, 1.0))
    yield Subject(
        "tensor_clamp_ste",
        lambda x: ops_ste.tensor_clamp_ste(x, low.to(x), high.to(x)),
        numbers(3, 4),
        options={"surrogate": lambda x: x},
    )
    yield Subject("abs_binary_sign_grad", ops_ste.abs_binary_sign_grad, numbers(3, 4))


def torchrl():
    from torchrl.modules.distributions.utils import safeatanh, safetanh

    yield Subject("safetanh", lambda x: safetanh(x, 1e-6), numbers(3, 4))
    yield Subject(
        "safeatanh",
        lambda x: safeatanh(x, 1e-6),
        (numbers(3, 4).tanh() * 0.9).detach().requires_grad_(),
        options={"domain": (-1, 1)},
    )


def mambapy():
    from mambapy.pscan import pscan

    yield Subject("pscan", pscan, (numbers(2, 4, 3, 2), numbers(2, 4, 3, 2)))
    yield Subject("pscan, length 5", pscan, (numbers(2, 5, 3, 2), numbers(2, 5, 3, 2)))


def memcnn():
    from memcnn import AdditiveCoupling, InvertibleModuleWrapper

    layer = torch.nn.Linear(3, 3)
    yield Subject("AdditiveCoupling", InvertibleModuleWrapper(AdditiveCoupling(layer), keep_input=True), numbers(4, 6))


def reformer_pytorch():
    from reformer_pytorch.reversible import ReversibleSequence

    blocks = torch.nn.ModuleList([torch.nn.ModuleList([torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)])])
    yield Subject("ReversibleSequence", ReversibleSequence(blocks), numbers(2, 4, 6))
