"""The table of checks: what each one means, and from which level on it runs."""

from collections.abc import Callable
from typing import NamedTuple

from torchbp.testing.checks.checkpoint_and_meta import checkpointing, meta
from torchbp.testing.checks.compile import compile
from torchbp.testing.checks.determinism import determinism
from torchbp.testing.checks.dtypes import autocast, dtypes
from torchbp.testing.checks.extremes import extremes
from torchbp.testing.checks.hessian import hessian
from torchbp.testing.checks.jvp import jvp
from torchbp.testing.checks.layouts import layouts
from torchbp.testing.checks.linearity import linearity
from torchbp.testing.checks.memory import memory
from torchbp.testing.checks.module.module import module
from torchbp.testing.checks.reference_and_opcheck import custom_op, reference
from torchbp.testing.checks.second_order import second_order
from torchbp.testing.checks.shapes import shapes
from torchbp.testing.checks.side_effects import side_effects
from torchbp.testing.checks.subsets import subsets
from torchbp.testing.checks.values import complex, values
from torchbp.testing.checks.vmap import batched_grad, vmap

LEVELS = ("fast", "default", "all")
OPT_IN = "opt-in"  # runs only when it is named


class Row(NamedTuple):
    function: Callable  # of one Subject; returns a line, or raises Defect, Unsupported or Skipped
    level: str
    meaning: str
    apart: bool = False  # what it gives the function may crash it: in a process of its own


CHECKS = {
    "values": Row(values, "fast", "analytical against numerical derivatives"),
    "second_order": Row(second_order, "default", "double backward is right, or refused"),
    "linearity": Row(linearity, "fast", "linear in the incoming gradient; outputs together, singly, undefined"),
    "subsets": Row(subsets, "fast", "the same gradients for every choice of requires_grad"),
    "layouts": Row(layouts, "fast", "incoming gradient and inputs expanded, transposed, strided", True),
    "side_effects": Row(side_effects, "fast", "nothing is written that is not its own; two calls alive at once"),
    "memory": Row(memory, "default", "the graph is freed; saved tensors altered in place are noticed"),
    "extremes": Row(extremes, "default", "0, ±1, ±100, ±1e4, denormal, inf; float32 against float64", True),
    "shapes": Row(shapes, "default", "no row, one, one more; longer rows; extra leading dimensions", True),
    "dtypes": Row(dtypes, "default", "float32, bfloat16, float16; no precision lost in float64", True),
    "complex": Row(complex, OPT_IN, "complex numbers"),
    "autocast": Row(autocast, "default", "forward under autocast, backward outside", True),
    "jvp": Row(jvp, "default", "forward-mode derivatives"),
    "batched_grad": Row(batched_grad, "default", "a batch of incoming gradients"),
    "vmap": Row(vmap, "default", "torch.func.vmap over every subset of arguments"),
    "hessian": Row(hessian, "default", "torch.func's Hessian"),
    "compile": Row(compile, "all", "torch.compile (backend aot_eager), fullgraph, static and dynamic"),
    "checkpointing": Row(checkpointing, "default", "activation checkpointing; a retained graph"),
    "meta": Row(meta, "default", "the meta device", True),
    "determinism": Row(determinism, "fast", "one seed, one result; a backward inside a backward"),
    "module": Row(module, "default", "copies, state_dict, functional_call, parameters in the graph, both modes"),
    "custom_op": Row(custom_op, "default", "torch.library.opcheck of a registered operator"),
    "reference": Row(reference, "default", "agreement with another implementation"),
}
