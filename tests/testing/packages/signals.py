"""Packages of signals, graphs and groups."""

import torch

from tests.testing.packages.subject import NO_GRAPH, Subject, numbers, positive


def pytorch_wavelets():
    from pytorch_wavelets import DTCWTForward, DWTForward, DWTInverse
    from pytorch_wavelets.scatternet import ScatLayer
    from pytorch_wavelets.scatternet.lowlevel import SmoothMagFn

    def forward(x):
        low, high = DWTForward(J=1, wave="db2", mode="symmetric").to(x)(x)
        return low, high[0]

    def inverse(low, high):
        return DWTInverse(wave="db2", mode="symmetric").to(low)((low, [high]))

    mixed = {"autocast": "defect: a backward after a forward under autocast mixes dtypes, and raises"}
    edges = {"values": "defect: with the modes symmetric and reflect, the gradient is that of another boundary"}
    yield Subject("DWTForward", forward, numbers(1, 2, 8, 8), mixed | edges)
    alone = {"subsets": "defect: the same, which shows in one gradient alone too"}
    yield Subject("DWTInverse", inverse, (numbers(1, 2, 5, 5), numbers(1, 2, 3, 5, 5)), mixed | edges | alone)
    magnitude = {
        "second_order": NO_GRAPH,
        "subsets": "defect: if y alone requires a gradient, the backward raises an UnboundLocalError",
    }
    yield Subject("SmoothMagFn", lambda x, y: SmoothMagFn.apply(x, y, 0.1), (numbers(3, 4), numbers(3, 4)), magnitude)
    filters = {
        "second_order": "defect: the double backward raises: it writes into a view of the incoming gradient",
        "variations": "convention: the filters are constants of one wavelet, and the backward uses their symmetry",
    }
    yield Subject("ScatLayer", ScatLayer(), numbers(1, 1, 8, 8), mixed | filters)
    yield Subject("DTCWTForward", lambda x: DTCWTForward(J=2).to(x)(x)[0], numbers(1, 1, 8, 8), mixed)


def ptwt():
    import ptwt as package

    yield Subject("wavedec", lambda x: package.wavedec(x, "db2", level=2), numbers(2, 16))
    yield Subject("cwt", lambda x: package.cwt(x, torch.arange(1, 4), "mexh")[0], numbers(2, 16))


def kymatio():
    from kymatio.backend.torch_backend import ModulusStable

    yield Subject(
        "ModulusStable",
        ModulusStable.apply,
        numbers(3, 4, 2),
        {"shapes": "convention: a row is a real and an imaginary part"},
    )


def torch_geometric():
    from torch_geometric.utils import scatter, segment, softmax
    from torch_geometric.utils.cross_entropy import sparse_cross_entropy

    index, edges = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([[0, 0, 1, 2], [1, 3, 2, 0]])
    yield Subject("softmax", lambda x: softmax(x, index), numbers(5, 3))
    product = {"hessian": "defect: that of torch.scatter_reduce, which has no forward-mode tangent, and no error"}
    for reduce in ("sum", "mean", "max", "mul"):
        yield Subject(
            f"scatter {reduce}",
            lambda x, reduce=reduce: scatter(x, index, reduce=reduce),
            numbers(5, 3),
            product if reduce == "mul" else {},
        )
    crash = {"shapes": "defect: that of torch.segment_reduce: offsets beyond the rows end the process"}
    yield Subject("segment", lambda x: segment(x, torch.tensor([0, 2, 5]), reduce="mean"), numbers(5, 3), crash)
    rounded = {"precision": "convention: in bfloat16 p − 1 is 0 on a confident row, as of torch's own cross_entropy"}
    yield Subject("sparse_cross_entropy", lambda x: sparse_cross_entropy(x, edges), numbers(3, 4), rounded)
    yield Subject(
        "sparse_cross_entropy with weights",
        lambda x, w: sparse_cross_entropy(x, edges, w),
        (numbers(3, 4), positive(4).detach()),
        rounded,
    )


def e3nn():
    from e3nn import o3
    from e3nn.math import soft_one_hot_linspace, soft_unit_step

    tiny = {"extremes": "defect: below 1e-23 in float32 the square of x is 0, and the gradient 0/0"}
    cancels = {"extremes": "defect: at 1e-30 in float32 the gradient is 2e24, a difference of infinite terms"}
    yield Subject("soft_unit_step", soft_unit_step, numbers(6), tiny)
    yield Subject("spherical_harmonics", lambda x: o3.spherical_harmonics([0, 1, 2], x, normalize=True), numbers(4, 3))
    for basis in ("gaussian", "cosine", "smooth_finite", "fourier", "bessel"):
        yield Subject(
            f"soft_one_hot_linspace {basis}",
            lambda x, basis=basis: soft_one_hot_linspace(x, 0.0, 2.0, 4, basis=basis, cutoff=True),
            positive(5),
            cancels if basis == "bessel" else {},
        )


def diffsort():
    from diffsort import DiffSortNet
    from diffsort.functional import NormalCDF

    yield Subject("NormalCDF", lambda x: NormalCDF.apply(x, 0.5), numbers(3, 4))
    for distribution in ("logistic", "logistic_phi", "cauchy", "optimal", "gaussian"):
        net = DiffSortNet("bitonic", 4, steepness=5, distribution=distribution)
        yield Subject(f"DiffSortNet {distribution}", lambda x, net=net: net(x), numbers(2, 4))
