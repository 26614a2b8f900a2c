"""The functions of functions.h beside those of torch in float64, in units of the last place of the result."""

import ctypes

import pytest
import torch

from torchbp.engine.native import build

EVERYWHERE = [*torch.linspace(-120, 120, 4001).tolist(), *torch.logspace(-40, 38, 1001).tolist()]
EVERYWHERE += [-x for x in EVERYWHERE] + [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 709.0, -745.0, 88.7]
FUNCTIONS = {
    "exp": (torch.exp, 2),
    "expm1": (torch.expm1, 3),
    "log": (torch.log, 2),
    "log1p": (torch.log1p, 3),
    "sigmoid": (torch.sigmoid, 4),
    "tanh": (torch.tanh, 5),
    "sign": (torch.sgn, 0),
}


def of_c(name, x):
    """The function in C at each number of x."""
    ctype = "float" if x.dtype is torch.float32 else "double"
    loop = f"for (long i = 0; i < n; i++) y[i] = {name}_{ctype}(x[i]);"
    text = f"void run(const {ctype} *x, {ctype} *y, long n) {{ {loop} }}"
    function, y = build.load(text, build.OF_MATRICES).run, torch.empty_like(x)
    function(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), ctypes.c_long(len(x)))
    return y


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, dtype):
    function, most = FUNCTIONS[name]
    x = torch.tensor(EVERYWHERE, dtype=dtype)
    found, expected = of_c(name, x), function(x.double())
    rounded = expected.to(dtype)
    special = ~rounded.isfinite()
    torch.testing.assert_close(found[special], rounded[special], rtol=0, atol=0, equal_nan=True)
    unit = torch.nextafter(rounded.abs(), torch.tensor(torch.inf, dtype=dtype)) - rounded.abs()
    normal = ~special & ((expected == 0) | (expected.abs() > torch.finfo(dtype).tiny))  # of σ(−89) torch makes 0 too
    ulps = ((found.double() - expected).abs() / unit.double())[normal]
    assert ulps.max() <= most, (x[normal][ulps.argmax()], ulps.max())
    zero = expected == 0
    assert torch.equal(found[zero].signbit(), rounded[zero].signbit())


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_powers(dtype):
    ctype = "float" if dtype is torch.float32 else "double"
    bases = torch.tensor([0.0, 0.5, 0.999, 1.0, 1.5, 10.0, -2.0, -0.5, float("inf"), float("nan")], dtype=dtype)
    powers = torch.tensor([0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, 2.5, 1000.0, float("nan")], dtype=dtype)
    x, y = (t.flatten().contiguous() for t in torch.meshgrid(bases, powers, indexing="ij"))
    loop = f"for (long i = 0; i < n; i++) y[i] = pow_{ctype}(x[i], y[i]);"
    text = f"void run(const {ctype} *x, {ctype} *y, long n) {{ {loop} }}"
    found = y.clone()
    function = build.load(text, build.OF_MATRICES).run
    function(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(found.data_ptr()), ctypes.c_long(len(x)))
    torch.testing.assert_close(found, x**y, rtol=1e-6 if dtype is torch.float32 else 1e-12, atol=0, equal_nan=True)
