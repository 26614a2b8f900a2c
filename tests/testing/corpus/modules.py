"""Modules whose gradient of the input, all that gradcheck sees, is right."""

import copy
import pickle

import torch
from torch import nn
from torch.autograd import Function
from torch.func import functional_call
from torch.nn.functional import linear

from tests.testing.corpus.entry import DOUBLE, Defect, draw, gradients, raised


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.bias = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return linear(x, self.weight, self.bias)


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


class LinearKeepsOutput(Linear):
    def forward(self, x):
        self.output = super().forward(x)
        return self.output


class LinearThroughClosure(Linear):
    def __init__(self):
        super().__init__()
        self.compute = lambda x: linear(x, self.weight, self.bias)

    def forward(self, x):
        return self.compute(x)


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


class LinearFlatList(Linear):
    def __init__(self):
        super().__init__()
        self.flat = [self.weight, self.bias]

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.flat = [self.weight, self.bias]
        return self

    def forward(self, x):
        return linear(x, *self.flat)


class LinearRenamedState(Linear):
    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "kernel"] = destination.pop(prefix + "weight")


class Whiten(nn.Module):
    """A fixed rotation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rotation", torch.randn(3, 3))

    def forward(self, x):
        return x @ self.rotation


class WhitenPlainTensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.rotation = torch.randn(3, 3, dtype=DOUBLE)

    def forward(self, x):
        return x @ self.rotation


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


def deepcopied_after_call(subject):
    subject(draw(4, 3))
    return raised(lambda: copy.deepcopy(subject)), "nothing"


def copy_of_its_own(subject):
    """What a copy computes once its own parameters are 0."""
    twin = copy.deepcopy(subject)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    return (twin(draw(4, 3)).abs().sum().item(), raised(lambda: pickle.dumps(subject))), (0.0, "nothing")


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


def called_with_zeros(subject):
    zeros = {name: torch.zeros_like(parameter) for name, parameter in subject.named_parameters()}
    return functional_call(subject, zeros, (draw(4, 3),)).abs().sum().item(), 0.0


def state_round_trip(subject):
    return raised(lambda: copy.deepcopy(subject).load_state_dict(subject.state_dict())), "nothing"


def in_float32(subject):
    subject = subject.to(torch.float32)
    return raised(lambda: subject(draw(4, 3, dtype=torch.float32))), "nothing"


def in_eval(subject):
    subject.eval()
    x = draw(4, 3)
    incoming = [draw(4, 3, seed=1, grad=False)]
    right = gradients(lambda x: (x - subject.mean) * torch.rsqrt(subject.var + 1e-5), (x,), incoming)
    return gradients(subject, (x,), incoming), right


def entry(name, what, twin, shows, *checks, source=""):
    return Defect(
        name,
        what,
        lambda: (draw(4, 3),),
        twin=twin,
        checks=checks or ("module",),
        kind=13,
        shows=shows,
        source=source,
    )


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
    # the last output is kept: deepcopy refuses it, and its graph lives on
    entry(
        "keeps_its_output",
        LinearKeepsOutput,
        Linear,
        deepcopied_after_call,
        "module",
        "memory",
        source="pytorch/pytorch#54580: deepcopy of a model raised because it kept an output as an attribute",
    ),
    # a closure over self: a copy computes with the original's weights
    entry("closure_over_self", LinearThroughClosure, Linear, copy_of_its_own),
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
    # the parameters are used through a list of its own: functional_call has no effect
    entry(
        "parameters_through_a_list",
        LinearFlatList,
        Linear,
        called_with_zeros,
        source="pytorch/pytorch#90500: nn.LSTM used its flat list of weights, and functional_call changed nothing",
    ),
    # the state_dict has another name for the weight than it loads
    entry(
        "state_dict_renamed",
        LinearRenamedState,
        Linear,
        state_round_trip,
        source="huggingface/trl#865: a model could not load its own state_dict, whose keys had other names",
    ),
    # a constant that is no buffer: .to leaves it behind
    entry(
        "constant_is_no_buffer",
        WhitenPlainTensor,
        Whiten,
        in_float32,
        "module",
        "dtypes",
        "extremes",
        "meta",
        source="norse/norse#397: weights that were no buffers were not moved with their module",
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
