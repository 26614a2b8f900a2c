"""Sound code is accused of nothing; what is compared, what is not, and how a report says it."""

import pytest
import torch
from torch.autograd import Function

import torchbp
from torchbp.testing.checks.inputs import variations
from torchbp.testing.numerics.gradients import dense

X = torch.tensor([0.3, -0.7, 1.2, 0.4], dtype=torch.float64)


class Doubled(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x


class Wrong(Doubled):
    @staticmethod
    def backward(ctx, g):
        return 3 * g


def check(*args, **options):
    return torchbp.check(*args, raise_exception=False, **options)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.bfloat16().sin().to(x.dtype),
        lambda x: x.reshape(2, 2).to_sparse() * 2,
        lambda x: x.half(),
        lambda x: x.to(torch.complex32),
        lambda x: x * torch.bernoulli(torch.full_like(x, 0.5), generator=torch.Generator().manual_seed(3)),
        lambda x: torch.round(3 * x) + x,
    ],
    ids=["bfloat16 inside", "sparse", "half", "complex32", "draws that it seeds itself", "steps"],
)
def test_it_accuses_nobody_wrongly(function):
    report = check(function, X)
    assert not report.failed, str(report)


class SigmoidFromInput(Function):
    """The backward computes y anew: in float16 exp overflows at -12, without harm, and 1 - y is 0 at 8, as in torch."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx, g):
        y = 1 / (1 + torch.exp(-ctx.saved_tensors[0]))
        return g * y * (1 - y)


class LogDet(Doubled):
    """Of a zero matrix the value is −∞, and its backward raises, as torch's inverse does."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.linalg.slogdet(x).logabsdet

    @staticmethod
    def backward(ctx, g):
        return g[..., None, None] * torch.linalg.inv(ctx.saved_tensors[0]).mT


class Chosen(Doubled):
    """One of two numbers. A mask of bytes has other inverses, and torch warns of one."""

    @staticmethod
    def forward(ctx, mask, x, y):
        ctx.save_for_backward(mask)
        return torch.where(mask, x, y)

    @staticmethod
    def backward(ctx, g):
        (mask,) = ctx.saved_tensors
        return None, g * mask, g * ~mask


class CrossEntropy(Doubled):
    """Of one row of logits and several labels its forward takes all, by the luck of a broadcast."""

    @staticmethod
    def forward(ctx, z, labels):
        ctx.save_for_backward(z, labels)
        return -z.log_softmax(1)[torch.arange(len(z)), labels].mean()

    @staticmethod
    def backward(ctx, g):
        z, labels = ctx.saved_tensors
        dz = z.softmax(1)
        dz[torch.arange(len(z)), labels] -= 1
        return g * dz / len(z), None


class Rotated(Doubled):
    """x times a phase; the conjugate of a phase is its inverse."""

    @staticmethod
    def forward(ctx, x, phase):
        ctx.save_for_backward(phase)
        return x * phase

    @staticmethod
    def backward(ctx, g):
        return g / ctx.saved_tensors[0], None


def smooth_length(x, eps=1e-6):
    return (x * x + eps).sqrt()


@pytest.mark.parametrize(
    ("function", "inputs", "checks"),
    [
        (lambda x, scale: torch.tanh(x / scale), (X.clone().requires_grad_(), X.abs() + 0.5), "variations"),
        (lambda x, width: torch.exp(-((x / width) ** 2)), (X.clone().requires_grad_(), X.abs() + 0.5), "variations"),
        (torch.abs, (torch.complex(X, X).requires_grad_(),), "side_effects"),
        (SigmoidFromInput, (torch.tensor([0.3, -0.7, 0.5, -0.2], dtype=torch.float64),), "precision"),
        (smooth_length, (X * torch.tensor([0, 1, 0, 1]),), "variations"),
        (lambda x: 1 / (1 + x**4), (X,), "extremes"),
        (lambda x: x.sqrt() + 1e6 * x, (X.abs(),), "extremes"),
        (LogDet, (torch.stack([torch.eye(2), 2 * torch.eye(2)]) + X.view(2, 2),), "shapes"),
        (Chosen, (X > 0, X.clone().requires_grad_(), X.flip(0).requires_grad_()), "variations"),
        (CrossEntropy, (X.view(2, 2).clone().requires_grad_(), torch.tensor([1, 0])), "shapes"),
        (
            Rotated,
            (torch.complex(X, X).requires_grad_(), torch.polar(torch.ones(4), X.float()).cdouble()),
            "variations",
        ),
    ],
    ids=[
        "a scale is never 0",
        "a width is never 0",
        "a complex nan",
        "an overflow beside what cancels",
        "an eps is never 0",
        "x⁴ at 100 in float16",
        "a root beside a large slope",
        "a matrix of zeros",
        "a mask of bytes",
        "labels of other rows",
        "phases",
    ],
)
def test_it_accuses_nobody_wrongly_by_a_check(function, inputs, checks):
    report = check(function, inputs, checks=checks)
    assert report[checks].status == "PASS", str(report)


def test_rows_are_not_many_where_each_meets_each():
    """A table of 20,000 rows by 20,000 takes gigabytes."""
    seen = []

    class Gram(Doubled):
        @staticmethod
        def forward(ctx, x):
            seen.append(len(x))
            ctx.save_for_backward(x)
            return x @ x.t()

        @staticmethod
        def backward(ctx, g):
            return (g + g.t()) @ ctx.saved_tensors[0]

    assert check(Gram, torch.stack([X, X.flip(0), X * X]), checks="precision").sound
    assert max(seen) == 256


def test_no_number_outside_of_the_domain_is_given():
    seen = []

    def root(x):
        seen.append(x.detach().clone())
        return x.sqrt()

    assert check(root, X.abs(), checks="side_effects", domain=(0.01, 2)).sound
    assert all(bool(((x > 0) & (x < 2.1)).all()) for x in seen)
    assert check(root, X.abs(), checks="shapes", domain=(0.295, 1.25)).sound
    of_other_sizes = torch.cat([x.reshape(-1) for x in seen if x.shape != X.shape])
    assert bool(((of_other_sizes > 0.29) & (of_other_sizes < 1.26)).all())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_the_values_of_a_sparse_argument_are_audited():
    x = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), X[:2], (2, 2)).requires_grad_()
    report = check(lambda x: torch.sparse.mm(x, X.reshape(2, 2)), x, checks=["values", "shapes"])
    assert report["values"].status == "PASS"
    wrong = check(lambda x: torch.sparse.mm(x.detach(), X.reshape(2, 2)) + 0 * torch.sparse.sum(x), x, checks="values")
    assert "x.values" in str(wrong["values"])


def test_a_batch_of_no_rows_that_raises_is_unsupported():
    def viewed(x):
        return x.view(x.shape[0], -1).tanh()

    report = check(viewed, X.reshape(2, 2), checks="shapes")
    assert report["shapes"].status == "UNSUPPORTED"
    assert "no rows" in report["shapes"].message
    assert "flatten" in report["shapes"].message


def test_a_row_taken_by_the_luck_of_a_broadcast_promises_no_other_number_of_rows():
    report = check(lambda x: x + torch.ones(2, 2), X.reshape(2, 2), checks="shapes")
    assert report["shapes"].status == "PASS", str(report)


def test_a_layout_that_is_refused_of_longer_rows_alone_is_told():
    def viewed(x):
        return (x.view(-1) if x.shape[-1] > 200 else x.reshape(-1)).tanh()

    message = check(viewed, X.reshape(2, 2), checks="layouts")["layouts"].message
    assert message.startswith("refuses inputs that are padded, of 257 columns (x: ")


def test_what_is_not_varied_is_noted():
    weight = torch.ones(4, dtype=torch.float64)
    inputs = (X.clone().requires_grad_(), weight)
    assert check(lambda x, weight: x * weight, inputs, checks="fast").notes == ("not varied: weight",)
    assert check(torch.mul, inputs, checks=["values", "variations"]).notes == ()


def test_each_argument_is_varied_once_where_time_is_short(monkeypatch):
    inputs = (X.clone().requires_grad_(), X > 0, torch.ones(4))
    message = check(lambda x, mask, w: x * mask * w, inputs, checks="variations")["variations"].message
    assert message == "varied: mask and w"
    monkeypatch.setattr(variations, "_SECONDS", 0)
    message = check(lambda x, mask, w: x * mask * w, inputs, checks="variations")["variations"].message
    assert message == "varied: mask and w; after 0 s with one other value each"


class SparseProduct(torch.autograd.Function):
    """Its backward multiplies with the sparse matrix that it was given, and with one that it has computed."""

    @staticmethod
    def forward(ctx, matrix, x):
        ctx.save_for_backward(matrix, matrix * 2)
        return matrix.to_dense() @ x

    @staticmethod
    def backward(ctx, incoming):
        _, doubled = ctx.saved_tensors
        return None, doubled.to_dense().t() @ incoming / 2


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensors_may_be_saved(layout):
    matrix = torch.eye(4, dtype=torch.float64).to_sparse(layout=layout)
    report = check(lambda x: SparseProduct.apply(matrix.to(x.dtype), x[:, None]), X, checks=["values", "second_order"])
    assert report.sound, str(report)


@pytest.mark.parametrize("gradient", [None, torch.eye(3).to_sparse()])
def test_the_gradient_of_a_sparse_tensor_is_compared_as_a_dense_one(gradient):
    found = dense(torch.eye(3).to_sparse(), gradient)
    assert torch.equal(found, torch.zeros(3, 3) if gradient is None else torch.eye(3))


class Step(torch.autograd.Function):
    """It returns float32, whatever it is given."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, incoming):
        return incoming / (25 * ctx.saved_tensors[0].abs() + 1) ** 2


def test_an_output_of_float32_is_compared_as_one():
    report = check(
        Step, X, surrogate=lambda x: x / (1 + 25 * x.abs()), checks=["values", "magnitudes", "dtypes", "shapes"]
    )
    assert not report.failed, str(report)
