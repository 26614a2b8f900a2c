"""Modules whose gradient of the input, all that gradcheck sees, is right; those of the parameters are not."""

import torch
from torch import nn
from torch.autograd import Function
from torch.nn.functional import linear

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.modules.linear import Linear, entry


class LinearConstantWeight(Linear):
    def forward(self, x):
        return linear(x, self.weight.detach(), self.bias)


class LinearRewrapped(Linear):
    def forward(self, x):
        weight = nn.Parameter(self.weight * 2)
        return linear(x, weight / 2, self.bias)


class LinearUnusedParameter(Linear):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


class LinearFunction(Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.t() @ x, grad.sum(0)


class BiasAveraged(LinearFunction):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.t() @ x, grad.sum(0) / max(grad.shape[0], 1)


class WeightTransposed(LinearFunction):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, x.t() @ grad, grad.sum(0)


class LinearByFunction(Linear):
    function = LinearFunction

    def forward(self, x):
        return self.function.apply(x, self.weight, self.bias)


class LinearBiasAveraged(LinearByFunction):
    function = BiasAveraged


class LinearWeightTransposed(LinearByFunction):
    function = WeightTransposed


class LinearUnregistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(3))
        self.weights = [nn.Parameter(torch.randn(3, 3, dtype=DOUBLE))]

    def forward(self, x):
        return linear(x, self.weights[0].to(x), self.bias)


class LinearRegistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(3))
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(3, 3, dtype=DOUBLE))])

    def forward(self, x):
        return linear(x, self.weights[0], self.bias)


class Normalise(Function):
    """(x − mean)·rstd, with the mean and rstd of the batch or given ones."""

    @staticmethod
    def forward(ctx, x, mean, var, training):
        if training:
            mean, var = x.mean(0), x.var(0, unbiased=False)
        ctx.training = training
        ctx.save_for_backward(x, mean.clone(), var.clone())
        return (x - mean) * torch.rsqrt(var + 1e-5)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, mean, var = ctx.saved_tensors
        rstd = torch.rsqrt(var + 1e-5)
        if ctx.training:
            y = (x - mean) * rstd
            return rstd * (grad - grad.mean(0) - y * (grad * y).mean(0)), None, None, None
        return rstd * grad, None, None, None


class NormaliseAlwaysTraining(Normalise):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, mean, var = ctx.saved_tensors
        rstd = torch.rsqrt(var + 1e-5)
        y = (x - mean) * rstd
        return rstd * (grad - grad.mean(0) - y * (grad * y).mean(0)), None, None, None


class BatchNorm(nn.Module):
    normalise = Normalise

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(3))
        self.register_buffer("var", torch.rand(3) + 0.5)

    def forward(self, x):
        return self.normalise.apply(x, self.mean, self.var, self.training)


class BatchNormEvalWrong(BatchNorm):
    normalise = NormaliseAlwaysTraining


def parameters(subject):
    """Gradients of weight and bias."""
    x = draw(4, 3)
    wanted = [subject.weight, subject.bias]
    right = gradients(lambda x: linear(x, subject.weight, subject.bias), (x,), wanted=wanted)
    return gradients(subject, (x,), wanted=wanted), right


def without_gradient(subject):
    subject(draw(4, 3)).sum().backward()
    return [name for name, parameter in subject.named_parameters() if parameter.grad is None], []


def strangers(subject):
    """How many tensors of the graph that take gradients are no parameters."""
    known = {id(parameter) for parameter in subject.parameters()}
    nodes, leaves = [subject(draw(4, 3, grad=False)).grad_fn], set()
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        nodes += [after for after, _ in node.next_functions if after is not None]
    return len(leaves - known), 0


def in_eval(subject):
    subject.eval()
    x = draw(4, 3)
    incoming = [draw(4, 3, seed=1, grad=False)]
    right = gradients(lambda x: (x - subject.mean) * torch.rsqrt(subject.var + 1e-5), (x,), incoming)
    return gradients(subject, (x,), incoming), right


DEFECTS = [
    # the weight is a constant in the graph
    entry(
        "weight_detached",
        LinearConstantWeight,
        Linear,
        parameters,
        "module",
        "values",
        source="d2l-ai/d2l-en#2600: a layer used weight.data, and its weight had no gradient",
    ),
    # the weight is wrapped in a new Parameter in the forward: the registered one gets no gradient
    entry(
        "weight_rewrapped",
        LinearRewrapped,
        Linear,
        parameters,
        "module",
        "values",
        source="benedekrozemberczki/pytorch_geometric_temporal#80: a Parameter made in the forward lost the gradient",
    ),
    # a parameter that nothing depends on
    entry(
        "parameter_unused",
        LinearUnusedParameter,
        Linear,
        without_gradient,
        source="tianzhi0549/FCOS#217: a layer that the forward does not use broke the distributed training",
    ),
    # the bias' gradient is the mean over the batch instead of the sum
    entry(
        "bias_averaged",
        LinearBiasAveraged,
        LinearByFunction,
        parameters,
        "values",
        "module",
        source="nntrainer/nntrainer#323: gradients averaged over the batch where they have to be summed",
    ),
    # the weight's gradient is transposed, which a square one hides
    entry(
        "weight_gradient_transposed",
        LinearWeightTransposed,
        LinearByFunction,
        parameters,
        "values",
        "module",
        source="HomericIntelligence/Odyssey#2136: the transposes in the backward of a product were wrong",
    ),
    # a weight in a plain list is no parameter
    entry(
        "weight_in_a_plain_list",
        LinearUnregistered,
        LinearRegistered,
        strangers,
        "module",
        "values",
        "memory",
        source="shenweichen/DeepCTR-Torch#61: a weight was not registered with the module",
    ),
    # the backward of training, in eval, too
    entry(
        "backward_of_training_in_eval",
        BatchNormEvalWrong,
        BatchNorm,
        in_eval,
        "module",
        "values",
        source="pytorch/xla#913: batch norm's gradient was wrong in eval mode",
    ),
]
