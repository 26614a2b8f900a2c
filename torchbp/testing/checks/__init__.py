"""The table of checks: what each one means, and from which level on it runs.

Each check is a function of a `Subject`. It returns a line for the report, or nothing; or it raises Defect, Unsupported
or Skipped. The table loads no torch: a check is imported when it runs.
"""

import importlib
from typing import NamedTuple

from torchbp.printing import did_you_mean

LEVELS = ("fast", "default", "all")
OPT_IN = "opt-in"  # runs only if it is named
MODELS = "models"  # runs on large models, at every level


class Row(NamedTuple):
    level: str
    meaning: str
    module: str  # of this folder, which has a function of the check's name
    may_crash: bool = False  # it calls the code with inputs that may crash it: in a forked process


CHECKS = {
    "values": Row("fast", "analytical against numerical derivatives", "derivatives.values"),
    "second_order": Row("default", "double backward is right, or refused", "derivatives.second_order"),
    "linearity": Row(
        "fast", "linear in the incoming gradient; outputs together, singly, undefined", "derivatives.linearity"
    ),
    "subsets": Row("fast", "the same gradients for every choice of requires_grad", "derivatives.subsets"),
    "layouts": Row("fast", "incoming gradient and inputs expanded, transposed, strided", "inputs.layouts", True),
    "side_effects": Row("fast", "no write into what others hold; two calls alive at once", "state.side_effects"),
    "memory": Row("default", "the graph is freed; saved tensors altered in place are noticed", "state.memory"),
    "extremes": Row("default", "0, ±1, ±100, ±1e4, denormal, inf; float32 against float64", "inputs.extremes", True),
    "magnitudes": Row("default", "numbers of every size from 0.01 to 1000", "inputs.magnitudes", True),
    "variations": Row("default", "other constants, indices, masks and options", "inputs.variations", True),
    "shapes": Row("default", "no row, one, one more; longer rows; other numbers of dimensions", "inputs.shapes", True),
    "dtypes": Row("default", "float32, bfloat16, float16; no precision lost in float64", "low_precision.dtypes", True),
    "precision": Row("default", "gradients in ulp, by magnitude; mixed dtypes", "low_precision.precision", True),
    "complex": Row(OPT_IN, "complex numbers", "derivatives.values"),
    "autocast": Row("default", "forward under autocast, backward outside", "low_precision.dtypes", True),
    "jvp": Row("default", "forward-mode derivatives", "transforms.jvp"),
    "batched_grad": Row("default", "a batch of incoming gradients", "transforms.vmap"),
    "vmap": Row("default", "torch.func.vmap over every subset of arguments", "transforms.vmap"),
    "hessian": Row("default", "torch.func's Hessian", "transforms.hessian"),
    "compile": Row("all", "torch.compile (backend aot_eager), fullgraph, static and dynamic", "transforms.compile"),
    "compiled_grad": Row("default", "compiled, torch.func.grad keeps the backward", "transforms.dropped_backward"),
    "checkpointing": Row("default", "activation checkpointing; a retained graph", "transforms.checkpoint_and_meta"),
    "meta": Row("default", "the meta device", "transforms.checkpoint_and_meta", True),
    "determinism": Row("fast", "one seed, one result; a backward inside a backward", "state.determinism"),
    "module": Row(
        "default", "copies, state_dict, functional_call, parameters in the graph, both modes", "module.module"
    ),
    "layers": Row(MODELS, "each kind of layer alone", "model.layers"),
    "custom_op": Row("default", "torch.library.opcheck of a registered operator", "reference_and_opcheck"),
    "reference": Row("default", "agreement with another implementation", "reference_and_opcheck"),
}


def check_function(name):
    return getattr(importlib.import_module(f"torchbp.testing.checks.{CHECKS[name].module}"), name)


def chosen_checks(checks, skip=(), require=()):
    """The names of the checks to run, in the order of the table."""
    checks, skip, require = as_tuple(checks), as_tuple(skip), as_tuple(require)
    for name in (*checks, *skip, *require):
        expect_check(name, [*LEVELS, *CHECKS] if name in checks else [*CHECKS])
    both = [name for name in require if name in skip]
    if both:
        raise ValueError(f"{both[0]!r} is both in require and in skip")
    number_of_levels = max((LEVELS.index(name) + 1 for name in checks if name in LEVELS), default=0)
    of_levels = [name for name, row in CHECKS.items() if row.level in LEVELS[:number_of_levels]]
    wanted = {*checks, *require, *of_levels}
    left = [name for name in CHECKS if name in wanted and name not in skip]
    if not left:
        raise ValueError(f"no check is left to run: checks={list(checks)}, skip={list(skip)}")
    return left


def expect_check(name, known):
    """Raise a ValueError for a name that is not known."""
    if name not in known:
        raise ValueError(f"there is no check {name!r}; {did_you_mean(name, known)}")


def as_tuple(names):
    return (names,) if isinstance(names, str) else tuple(names)
