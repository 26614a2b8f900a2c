"""Large products of float32 matrices on a CPU by oneDNN, where it is faster than torch's BLAS.

    linear     Z = X Wᵀ + b
    matmul     A B
    addmm_     out ← β out + α A B

torch's wheel holds two libraries with matrix products: MKL, which torch calls, and oneDNN. On processors of AMD, MKL
takes twice as long where products are large; on those of Intel they are level. So the first large product of a process
times both, which takes milliseconds. The results are those of torch's product to the rounding of float32.

The environment variable TORCHBP_ONEDNN decides without a measurement: 0 is never, 1 is always. Under
`torch.use_deterministic_algorithms(True)` nothing is measured, and it is never, unless the variable is 1.
"""

import os
import time

import torch
import torch.nn.functional as F
from torch.compiler import is_dynamo_compiling

VARIABLE = "TORCHBP_ONEDNN"
FEWEST = 2**21  # multiplications of a product: with fewer, the call of oneDNN costs more than it saves
FEWEST_IN_BLOCK = 3 * 2**20  # the same of a block of `addmm_`, which also copies and adds
DEPTH = 512  # of the products that a block of `addmm_` adds up, at most
PART = 16
PROBED = 256  # the probe multiplies square matrices of this size
FASTER = 0.8  # the part of MKL's time that oneDNN must stay under

_choices = {}  # whether oneDNN is faster, by the number of threads and torch's settings


def linear(x, weight, bias):
    """X Wᵀ + b, as `torch.nn.functional.linear`."""
    if x.numel() * weight.size(0) >= FEWEST and _takes(x, weight):
        return _by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def matmul(a, b):
    """A B, as `torch.matmul`."""
    if a.numel() * b.size(-1) >= FEWEST and _takes(a, b):
        return _by_onednn(a, b.t())
    return a @ b


def addmm_(out, a, b, *, beta=1, alpha=1, part=PART):
    """out ← β out + α A B in place, as `torch.Tensor.addmm_`. Aᵀ is what lies in memory row by row, as dZ of dZᵀ X.

    The product of oneDNN is in new memory, and it copies A, which it takes by rows. So it is made a few rows of `out`
    at a time: they take 1/part of A's memory at most, and half of `out`'s.
    """
    if a.numel() * b.size(-1) >= FEWEST_IN_BLOCK and _takes(a.t(), b):
        depth, width = min(DEPTH, len(b)), b.size(1)
        height = min(a.numel() // part, out.numel() // 2) // (depth + width) // 16 * 16
        if height * depth * width >= FEWEST_IN_BLOCK:
            return _add_blocks(out, a, b, beta, alpha, height, depth)
    return out.addmm_(a, b, beta=beta, alpha=alpha)


def _add_blocks(out, a, b, beta, alpha, height, depth):
    if beta != 1:
        out.mul_(beta) if beta else out.zero_()
    rows = out.split(height)
    for columns_of_a, rows_of_b in zip(a.split(depth, 1), b.split(depth), strict=True):
        weight = rows_of_b.t()
        for block, of_a in zip(rows, columns_of_a.split(height), strict=True):
            block.add_(_by_onednn(of_a, weight), alpha=alpha)
    return out


def _by_onednn(x, weight, bias=None):
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _takes(a, b):
    """Whether oneDNN computes a product of these two: they are plain float32 matrices, nothing records what is done
    with them, and it is faster."""
    return not is_dynamo_compiling() and _is_plain(a) and _is_plain(b) and not _is_recorded() and is_chosen()


def _is_plain(t):
    return t.dtype is torch.float32 and t.dim() == 2 and t.is_cpu and t.is_contiguous()


def _is_recorded():
    """Whether autograd, a transform of torch.func, or a mode such as a tracer's sees each operation."""
    return (
        torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
    )


def is_chosen():
    """Whether the large products of this process are oneDNN's. It is found out once for each number of threads.

    Raises:
        ValueError: TORCHBP_ONEDNN is something else than 0 or 1.
    """
    key = torch.get_num_threads(), torch._C._get_mkldnn_enabled(), torch._C._get_deterministic_algorithms()
    if key not in _choices:
        _choices[key] = _choice(*key)
    return _choices[key]


def _choice(_, enabled, deterministic):
    setting = os.environ.get(VARIABLE, "")
    if setting not in ("", "0", "1"):
        raise ValueError(f"{VARIABLE}={setting!r} is not known; use 0 for never, 1 for always, or unset it")
    if setting == "0" or not enabled or not torch.backends.mkldnn.is_available():
        return False
    if setting == "1":
        return True
    return not deterministic and measured_ratio() < FASTER  # a measurement is not deterministic


@torch.inference_mode()
def measured_ratio():
    """oneDNN's time over that of torch's product, each the least of five in turns."""
    a = torch.ones(PROBED, PROBED, device="cpu", dtype=torch.float32)
    functions, least = (F.linear, _by_onednn), [float("inf")] * 2
    for turn in range(6):
        for place, function in enumerate(functions):
            start = time.perf_counter()
            function(a, a, None)
            if turn:  # the first makes its kernel
                least[place] = min(least[place], time.perf_counter() - start)
    return least[1] / least[0]
