"""Packages of linear algebra, optimisation and integrals."""

import torch

from tests.testing.packages.subject import NO_CHECKPOINT, NO_GRAPH, Subject, numbers, positive


def _definite(n):
    a = numbers(n, n).detach()
    return (a @ a.T + torch.eye(n)).requires_grad_()


def linear_operator():
    import linear_operator as package
    from linear_operator.operators import DenseLinearOperator

    def of_dense(function):
        return lambda a, *rest: function(DenseLinearOperator(a), *rest)

    jitter = {"extremes": "convention: what is added to a singular matrix depends on the dtype"}
    yield Subject("solve", of_dense(package.solve), (_definite(4), numbers(4, 2)), jitter)
    yield Subject(
        "inv_quad_logdet",
        of_dense(lambda a, b: a.inv_quad_logdet(b, logdet=True)),
        (_definite(4), numbers(4, 2)),
        jitter,
    )
    yield Subject(
        "inv_quad",
        of_dense(lambda a, b: a.inv_quad(b)),
        (_definite(4), numbers(4, 2)),
        jitter | {"second_order": NO_GRAPH},
    )
    yield Subject("diagonalization", of_dense(lambda a: a.diagonalization(method="symeig")[0]), _definite(4))
    product = {
        "autocast": "defect: a backward after a forward under autocast mixes dtypes, and raises",
        "checkpointing": NO_CHECKPOINT,
    }
    yield Subject("matmul", of_dense(lambda a, b: a @ b), (_definite(4), numbers(4, 2)), product)
    yield Subject(
        "sqrt_inv_matmul",
        of_dense(lambda a, b: a.sqrt_inv_matmul(b)),
        (_definite(4), numbers(4, 2)),
        {"linearity": "defect: of an incoming gradient of 1e-12 nothing is left"},
        {"rtol": 1e-3, "checks": "fast"},
    )
    pivots = {
        "second_order": NO_GRAPH,
        "shapes": "convention: of equal pivots one is chosen",
        "precision": "convention: in float32 such a matrix is not positive definite",
    }
    yield Subject("pivoted_cholesky", of_dense(lambda a: package.pivoted_cholesky(a, rank=2)), _definite(4), pivots)


def xitorch():
    import xitorch as package
    from xitorch.integrate import quad
    from xitorch.linalg import solve, symeig

    def of_matrix(function):
        return lambda a, *rest: function(package.LinearOperator.m((a + a.mT) / 2), *rest)

    yield Subject("solve", of_matrix(lambda a, b: solve(a, b, method="exactsolve")), (_definite(4), numbers(4, 2)))
    yield Subject("symeig", of_matrix(lambda a: symeig(a, neig=2, method="exacteig")[0]), _definite(4))
    raises = {"values": "defect: it returns a gradient of a bound that is no tensor, and the backward raises"}
    yield Subject("quad", lambda c: quad(lambda x, c: (c * x).sin(), 0.0, 1.0, params=(c,)), positive(3), raises)


def torchsparsegradutils():
    import torchsparsegradutils as package

    def sparse(values):
        indices = torch.tensor([[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]])
        return torch.sparse_coo_tensor(indices, values, (3, 3)).coalesce()

    mixed = {
        "autocast": "defect: a backward after a forward under autocast mixes dtypes, and raises",
        "second_order": NO_GRAPH,
    }
    yield Subject(
        "sparse_mm", lambda values, b: package.sparse_mm(sparse(values), b), (positive(6), numbers(3, 2)), mixed
    )
    yield Subject(
        "sparse_triangular_solve",
        lambda values, b: package.sparse_triangular_solve(sparse(values).to_sparse_csr(), b, upper=False),
        (positive(6), numbers(3, 2)),
        {"second_order": NO_GRAPH},
    )


def torchdiffeq():
    from torchdiffeq import odeint, odeint_adjoint

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, t, y):
            return self.layer(y).tanh()

    class Solution(torch.nn.Module):
        def __init__(self, solver, **options):
            super().__init__()
            self.field, self.solver, self.options = Field(), solver, options

        def forward(self, y):
            return self.solver(self.field, y, torch.tensor([0.0, 0.5, 1.0]).to(y), **self.options)

    yield Subject("odeint", Solution(odeint, method="rk4"), numbers(3, 2), options={"checks": "fast"})
    yield Subject(
        "odeint_adjoint",
        Solution(odeint_adjoint, rtol=1e-9, atol=1e-9),
        numbers(3, 2),
        options={"rtol": 1e-4, "atol": 1e-6, "checks": "fast"},
    )


def torchcde():
    import torchcde as package

    yield Subject("natural_cubic_coeffs", package.natural_cubic_coeffs, numbers(2, 5, 3))
    yield Subject(
        "hermite_cubic_coefficients_with_backward_differences",
        package.hermite_cubic_coefficients_with_backward_differences,
        numbers(2, 5, 3),
    )
    yield Subject(
        "CubicSpline.evaluate",
        lambda x: package.CubicSpline(package.natural_cubic_coeffs(x)).evaluate(torch.tensor(1.3).to(x)),
        numbers(2, 5, 3),
    )


def torchinterp1d():
    from torchinterp1d import interp1d

    x = torch.arange(6, dtype=torch.float64)
    yield Subject(
        "interp1d",
        lambda y, at: interp1d(x.to(y), y, at),
        (numbers(6), (positive(4) * 2).detach().requires_grad_()),
        {"values": "defect: if x requires no gradient and the others do, the backward raises"},
        {"domain": {"at": (0, 5)}},
    )


def geotorch():
    from geotorch import SO, Grassmannian, Stiefel

    exponential = {
        "extremes": "defect: that of torch.matrix_exp in bfloat16, whose gradient at 0 is uninitialised memory"
    }
    for manifold, size in ((SO, (4, 4)), (Stiefel, (4, 2)), (Grassmannian, (4, 2))):
        yield Subject(manifold.__name__, manifold(size=size), numbers(*size), exponential)


def geoopt():
    import geoopt as package

    twice = {"hessian": "defect: TorchScript takes a part of the graph for constant: torch.func's Hessian is wrong"}
    script = {"checkpointing": "defect: TorchScript raises under a checkpoint"}
    ball, point = package.PoincareBall(), lambda: (numbers(3, 2) * 0.2).detach().requires_grad_()
    yield Subject(
        "PoincareBall.dist", lambda x, y: ball.dist(x, y), (point(), point()), twice | script, {"domain": (-0.5, 0.5)}
    )
    yield Subject(
        "PoincareBall.expmap",
        lambda x, u: ball.expmap(x, u),
        (point(), point()),
        twice | script,
        {"domain": (-0.5, 0.5)},
    )
    yield Subject(
        "PoincareBall.mobius_add",
        lambda x, y: ball.mobius_add(x, y),
        (point(), point()),
        script,
        {"domain": (-0.5, 0.5)},
    )
