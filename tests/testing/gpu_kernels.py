"""Audit the gradients of kernels for a GPU: torch's own, Liger-Kernel's and flash-linear-attention's, where installed.

    python -m tests.testing.gpu_kernels [--name norm] [--checks default] [--device cuda]

Each kernel is audited in a process of its own, since a kernel that fails may take the GPU's context with it. The exit
status is 1 if one of them fails, and 2 without a GPU. With `--device cpu` torch's kernels for the CPU are audited.
"""

import argparse
import importlib.util
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import torchbp.testing
from tests.testing.separate_process import messages_of
from torchbp.testing.report import CannotRun

SECONDS = 300  # for one kernel


def numbers(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def classes(rows, count):
    return torch.randint(count, (rows,))


def attention(backend, query, key, value):
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query, key, value)


def heads():
    return [numbers(2, 2, 5, 8) for _ in range(3)]


# name: (function, its arguments)
TORCH = {
    "conv2d": (F.conv2d, lambda: (numbers(2, 3, 6, 6), numbers(4, 3, 3, 3), numbers(4))),
    "conv_transpose2d": (F.conv_transpose2d, lambda: (numbers(2, 3, 5, 5), numbers(3, 4, 3, 3), numbers(4))),
    "batch_norm": (
        lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True),
        lambda: (numbers(6, 3, 4), numbers(3), numbers(3)),
    ),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (7,), w, b), lambda: (numbers(5, 7), numbers(7), numbers(7))),
    "rms_norm": (lambda x, weight: F.rms_norm(x, (7,), weight), lambda: (numbers(5, 7), numbers(7))),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), lambda: (numbers(3, 4, 5), numbers(4), numbers(4))),
    "cross_entropy": (F.cross_entropy, lambda: (numbers(6, 5), classes(6, 5))),
    "nll_loss": (F.nll_loss, lambda: (numbers(6, 5), classes(6, 5))),
    "softmax": (partial(F.softmax, dim=-1), lambda: (numbers(4, 9),)),
    "gelu": (F.gelu, lambda: (numbers(4, 9),)),
    "embedding": (lambda index, weight: F.embedding(index, weight), lambda: (classes(9, 4), numbers(4, 5))),
    "grid_sample": (
        partial(F.grid_sample, align_corners=False),
        lambda: (numbers(2, 2, 4, 4), (numbers(2, 3, 3, 2) / 4).detach().requires_grad_()),
    ),
    "attention_efficient": (partial(attention, SDPBackend.EFFICIENT_ATTENTION), heads),
    "attention_flash": (partial(attention, SDPBackend.FLASH_ATTENTION), heads),
    "attention_cudnn": (partial(attention, SDPBackend.CUDNN_ATTENTION), heads),
    "attention_math": (partial(attention, SDPBackend.MATH), heads),
}
# name: (module and name of the function, options by position after the arguments, its arguments)
LIGER = "liger_kernel.transformers.functional"
OF_PACKAGES = {
    "liger_kernel": {
        "rms_norm": (f"{LIGER}:liger_rms_norm", (1e-6,), lambda: (numbers(4, 16), numbers(16))),
        "layer_norm": (f"{LIGER}:liger_layer_norm", (1e-6,), lambda: (numbers(4, 16), numbers(16), numbers(16))),
        "fused_add_rms_norm": (
            f"{LIGER}:liger_fused_add_rms_norm",
            (1e-6,),
            lambda: (numbers(4, 16), numbers(4, 16), numbers(16)),
        ),
        "poly_norm": (f"{LIGER}:liger_poly_norm", (), lambda: (numbers(4, 16), numbers(3), numbers(1))),
        "swiglu": (f"{LIGER}:liger_swiglu", (), lambda: (numbers(4, 16), numbers(4, 16))),
        "geglu": (f"{LIGER}:liger_geglu", (), lambda: (numbers(4, 16), numbers(4, 16))),
        "softmax": (f"{LIGER}:liger_softmax", (), lambda: (numbers(4, 16),)),
        "sparsemax": (f"{LIGER}:liger_sparsemax", (), lambda: (numbers(4, 16),)),
        "relu_squared": (f"{LIGER}:liger_relu_squared", (), lambda: (numbers(4, 16),)),
        "dyt": (f"{LIGER}:liger_dyt", (), lambda: (numbers(4, 16), numbers(1), numbers(16), numbers(16))),
        "kl_div": (
            f"{LIGER}:liger_kl_div",
            (),
            lambda: (numbers(4, 16).log_softmax(-1).detach().requires_grad_(), numbers(4, 16).softmax(-1).detach()),
        ),
        "tvd": (
            f"{LIGER}:liger_tvd",
            (),
            lambda: (numbers(4, 16).softmax(-1).detach().requires_grad_(), numbers(4, 16).softmax(-1).detach()),
        ),
        "cross_entropy": (f"{LIGER}:liger_cross_entropy", (), lambda: (numbers(6, 16), classes(6, 16))),
        "fused_linear_cross_entropy": (
            f"{LIGER}:liger_fused_linear_cross_entropy",
            (),
            lambda: (numbers(6, 8), numbers(16, 8), classes(6, 16)),
        ),
    },
    "fla": {
        "l2norm": ("fla.modules.norm.l2norm:l2norm", (), lambda: (numbers(4, 16),)),
        "swiglu": ("fla.modules.activations:swiglu", (), lambda: (numbers(4, 16), numbers(4, 16))),
        "logsigmoid": ("fla.modules.activations:logsigmoid", (), lambda: (numbers(4, 16),)),
        "layer_norm": (
            "fla.modules.norm.layernorm:layer_norm",
            (),
            lambda: (numbers(4, 16), numbers(16), numbers(16)),
        ),
        "rms_norm": ("fla.modules.norm.layernorm:rms_norm", (), lambda: (numbers(4, 16), numbers(16), numbers(16))),
    },
}


def kernels(part=""):
    """{name: (makes the function, makes the arguments)}, and the packages that are not installed."""
    found = {f"torch {name}": (lambda f=function: f, make) for name, (function, make) in TORCH.items()}
    missing = []
    for package, of_package in OF_PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            missing.append(package)
            continue
        for name, (where, options, make) in of_package.items():
            found[f"{package} {name}"] = partial(imported, where, options), make
    return {name: kernel for name, kernel in found.items() if part in name}, missing


def imported(where, options):
    module, name = where.split(":")
    function = getattr(importlib.import_module(module), name)
    return (lambda *args: function(*args, *options)) if options else function


def audit(name, device, checks, send):
    """Send the lines of the report, and whether it is sound."""
    function, make = kernels(name)[0][name]
    torch.manual_seed(0)
    inputs = tuple(t.detach().to(device).requires_grad_(t.requires_grad) for t in make())
    try:
        report = torchbp.testing.check(function(), inputs, checks=checks, raise_exception=False)
    except CannotRun as error:
        send((f"not audited: {error}", True))
    except (ImportError, AttributeError) as error:  # of the package
        send((f"not audited: this version has no {error}", True))
    else:
        send((str(report), bool(report.sound)))


def audit_in_process(name, device, checks):
    """The same of a process of its own: words, and whether the kernel is sound."""
    messages, ending = messages_of(partial(audit, name, device, checks), SECONDS, "spawn")
    return messages[0] if ending is None else (ending, False)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="", help="part of the name of a kernel")
    parser.add_argument("--checks", default="default", help="a level or a check (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    found, missing = kernels(options.name)
    if missing:
        print(f"not installed: {', '.join(missing)}")
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        print(f"no GPU: {len(found)} kernels of {options.device} are not audited; --device cpu audits torch's")
        return 2
    failed = []
    for name in found:
        words, sound = audit_in_process(name, options.device, options.checks)
        print(f"\n{name}\n{words}", flush=True)
        failed += [] if sound else [name]
    print(f"\n{len(found) - len(failed)} of {len(found)} sound or not audited; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
