"""Functions of torch's operations: views, indices, transforms, sparse and complex ones, and guards that are needed."""

import functools

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, Sound, draw


def power_spectrum(x):
    spectrum = torch.fft.rfft(x, dim=-1)
    return spectrum.real.square() + spectrum.imag.square()


def filtered(x):
    spectrum = torch.fft.rfft(x, dim=-1)
    return torch.fft.irfft(spectrum * torch.linspace(1, 0, spectrum.shape[-1], dtype=x.dtype), n=x.shape[-1])


def complex_product(a, b):
    return torch.view_as_real(torch.view_as_complex(a) * torch.view_as_complex(b).conj())


def neighbours(x):
    """A product with a sparse matrix, of which autocast keeps off."""
    size = x.shape[0]
    rows = torch.arange(size)
    index = torch.stack([rows, (rows + 1) % max(size, 1)])
    with torch.autocast(x.device.type, enabled=False):
        return torch.sparse.mm(
            torch.sparse_coo_tensor(index, torch.ones(size, dtype=x.dtype), (size, size), check_invariants=False), x
        )


def scattered(x, index):
    return torch.zeros(4, x.shape[-1], dtype=x.dtype).index_add(0, index, x).tanh()


def segment_means(x, index):
    total = torch.zeros(4, x.shape[-1], dtype=x.dtype).index_add(0, index, x)
    count = torch.bincount(index, minlength=4).clamp(min=1).to(x.dtype)
    return total / count.unsqueeze(-1)


def windows(x):
    return x.unfold(-1, 2, 1).prod(-1)


def written_slice(x):
    """Writes into a copy, part by part."""
    y = x.clone()
    y[..., 0] *= 2
    y[..., 1:] += x[..., :-1].sin()
    return y


def guarded_log(x):
    safe = torch.where(x > 0, x, 1.0)
    return torch.where(x > 0, safe.log(), 0.0) * x


def stable_softplus(x):
    return torch.logaddexp(x, torch.zeros_like(x))


def expanded(x):
    return x.unsqueeze(0).expand(3, *x.shape) * 2


def of_a_list(tensors):
    return sum(t.square().sum() for t in tensors)


def of_a_dict(batch):
    return (batch["x"] * batch["weight"]).sum(-1)


def scaled(x, scale, power=2):
    return scale * x**power


class Polynomial:
    """An object that is called, with numbers of its own."""

    coefficients = (0.5, -1.0, 2.0)

    def __call__(self, x):
        total = torch.zeros_like(x)
        for coefficient in reversed(self.coefficients):
            total = total * x + coefficient
        return total


def euler(x):
    """A few steps of an equation of motion."""
    position, speed = x, torch.zeros_like(x)
    for _ in range(4):
        speed = speed - 0.1 * position.sin()
        position = position + 0.1 * speed
    return position


def gumbel(x):
    return F.gumbel_softmax(x, tau=0.7, dim=-1)


def similarity(a, b):
    return F.cosine_similarity(a, b, dim=-1)


def sampled(image, grid):
    return F.grid_sample(image, grid, align_corners=False, padding_mode="zeros")


def enlarged(x):
    return F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)


def solved(matrix, right):
    return torch.linalg.solve(matrix + 4 * torch.eye(matrix.shape[-1], dtype=matrix.dtype), right)


def singular_values(x):
    return torch.linalg.svdvals(x)


def mixed(x, count):
    """An integer tensor scales a floating one."""
    return x / (1 + count)


def half_inside(x):
    return x.to(torch.bfloat16).sigmoid().to(x.dtype)


def detached_scale(x):
    """Divided by its greatest number, which counts as a constant."""
    return (x - x.detach().amax(-1, keepdim=True)).exp().sum(-1).log() + x.detach().amax(-1)


def bags(table, index, offsets):
    return F.embedding_bag(index, table, offsets, mode="mean")


def divergence(x, target):
    return F.kl_div(x.log_softmax(-1), target, reduction="batchmean")


def grid():
    return draw(1, 2, 3, 2, seed=1, low=-0.7, high=0.7, grad=False)


SOUND = [
    Sound("power_spectrum", power_spectrum, lambda: (draw(2, 4),)),
    Sound("filter_in_frequency", filtered, lambda: (draw(2, 4),)),
    Sound("complex_product", complex_product, lambda: (draw(3, 2), draw(3, 2, seed=1))),
    Sound("sparse_product", neighbours, lambda: (draw(3, 2),)),
    Sound("scatter", scattered, lambda: (draw(3, 2), torch.tensor([3, 0, 3]))),
    Sound("segment_means", segment_means, lambda: (draw(3, 2), torch.tensor([1, 1, 2]))),
    Sound("windows", windows, lambda: (draw(2, 4),)),
    Sound("written_slices_of_a_copy", written_slice, lambda: (draw(2, 3),)),
    Sound("guarded_logarithm", guarded_log, lambda: (draw(2, 3),)),
    Sound("stable_softplus", stable_softplus, lambda: (draw(2, 3),)),
    Sound("expanded_output", expanded, lambda: (draw(2, 3),)),
    Sound("list_of_tensors", of_a_list, lambda: ([draw(2), draw(3, seed=1)],)),
    Sound("dict_of_tensors", of_a_dict, lambda: ({"x": draw(2, 3), "weight": draw(3, seed=1)},)),
    Sound("partial_with_numbers", functools.partial(scaled, scale=3.0), lambda: (draw(3),)),
    Sound("object_with_numbers", Polynomial(), lambda: (draw(3),)),
    Sound("euler_steps", euler, lambda: (draw(3),)),
    Sound("gumbel_softmax", gumbel, lambda: (draw(2, 3),)),
    Sound("cosine_similarity", similarity, lambda: (draw(2, 3), draw(2, 3, seed=1))),
    Sound("grid_sample", sampled, lambda: (draw(1, 1, 3, 3), grid())),
    Sound("interpolation", enlarged, lambda: (draw(1, 2, 3),)),
    Sound("linear_equations", solved, lambda: (draw(3, 3), draw(3, 2, seed=1))),
    Sound("singular_values", singular_values, lambda: (draw(3, 2),)),
    Sound("integers_that_scale", mixed, lambda: (draw(3), torch.tensor([0, 2, 1]))),
    Sound("half_precision_inside", half_inside, lambda: (draw(3),)),
    Sound("constant_maximum", detached_scale, lambda: (draw(2, 3),)),
    Sound("embedding_bag", bags, lambda: (draw(4, 2), torch.tensor([0, 3, 3]), torch.tensor([0, 1]))),
    Sound("divergence", divergence, lambda: (draw(2, 3), draw(2, 3, seed=1).softmax(-1).detach().to(DOUBLE))),
]
