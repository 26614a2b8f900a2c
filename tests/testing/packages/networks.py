"""Packages of networks and their parts: activations, splines, transforms, dynamic programming."""

import torch

from tests.testing.packages.subject import NO_GRAPH, Subject, numbers, positive


def transformers():
    from transformers.activations import (
        ClippedGELUActivation,
        LaplaceActivation,
        NewGELUActivation,
        QuickGELUActivation,
    )
    from transformers.models.bloom.modeling_bloom import BloomGelu
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import SqrtBoundDerivative
    from transformers.models.sew_d.modeling_sew_d import XSoftmax

    for activation in (NewGELUActivation(), QuickGELUActivation(), LaplaceActivation(), ClippedGELUActivation(-2, 2)):
        yield Subject(type(activation).__name__, activation, numbers(3, 5))
    square = {"precision": "defect: in float16 the square of 1000 overflows, and 0 times infinity is nan"}
    yield Subject("BloomGelu", BloomGelu(), numbers(3, 5), square)
    yield Subject("SqrtBoundDerivative", SqrtBoundDerivative, positive(3, 5))
    yield Subject("XSoftmax", lambda x, mask: XSoftmax.apply(x, mask, -1), (numbers(3, 5), numbers(3, 5).detach() < 1))


def deepinv():
    from deepinv.models.deal import LinearSplineDerivativeFunc, LinearSplineFunc, QuadraticSplineFunc

    low, high, knots = torch.tensor(-2.0), torch.tensor(2.0), 9
    starts = torch.tensor([0, knots])
    strided = {
        "layouts": "defect: the backward raises if x is transposed in memory: .view where .reshape belongs",
        "second_order": NO_GRAPH,
    }
    known = {
        LinearSplineFunc: strided | {"precision": "convention: in bfloat16 a number is rounded into the next interval"},
        LinearSplineDerivativeFunc: {
            "values": "defect: the gradient of the coefficients is flat, and not multiplied by the incoming one"
        },
        QuadraticSplineFunc: strided | {"precision": "defect: the backward raises where the dtypes are mixed"},
    }
    for spline, found in known.items():
        yield Subject(
            spline.__name__,
            lambda x, c, spline=spline: spline.apply(x, c, low.to(x), high.to(x), knots, starts),
            (numbers(2, 2, 2, 1, 1), numbers(2, knots)),
            found,
        )


def torch_struct():
    from torch_struct import LinearChainCRF
    from torch_struct.semirings.sparse_max import _SimplexProject

    known = {
        "values": "defect: the value subtracts |w|, and the gradient is that of a value that subtracts |w|²/2",
        "second_order": NO_GRAPH,
        "precision": "convention: in bfloat16 the differences of numbers of 400 are far off",
    }
    yield Subject("_SimplexProject", lambda x: _SimplexProject.apply(x, -1), numbers(3, 5), known)
    yield Subject("LinearChainCRF.partition", lambda x: LinearChainCRF(x).partition, numbers(2, 3, 2, 2))


def pytorch_tabnet():
    from pytorch_tabnet import sparsemax

    written = {"side_effects": "defect: it subtracts the maximum from its input in place"}
    vanishing = {"second_order": "defect: the double backward gives nan where the output is 0"}
    twice = {"second_order": "defect: the double backward raises, since it writes into what it has saved"}
    yield Subject("sparsemax", lambda x: sparsemax.sparsemax(x, -1), numbers(3, 5), written)
    yield Subject("entmax15", lambda x: sparsemax.entmax15(x, -1), numbers(3, 5), vanishing)
    yield Subject("entmoid15", sparsemax.entmoid15, numbers(3, 5), twice)


def compressai():
    from compressai.ops import LowerBound

    meant = "convention: below the bound a negative gradient passes, which moves x towards it"
    yield Subject("LowerBound", LowerBound(0.5), numbers(3, 5), {"linearity": meant, "module": meant})


def torch_harmonics():
    from torch_harmonics import RealSHT

    yield Subject("RealSHT", lambda x: RealSHT(4, 8).to(x)(x), numbers(2, 4, 8))


def pot():
    import ot

    a, b = (positive(n).detach().softmax(0) for n in (4, 5))
    yield Subject("emd2", lambda cost: ot.emd2(a.to(cost), b.to(cost), cost), positive(4, 5))
