"""Tensors of a module that neither .to() nor state_dict sees."""

import torch
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map

from torchbp.testing.checks.module.call import call_module
from torchbp.testing.numerics.tensors import cast, first_line, is_inexact
from torchbp.testing.report import Defect

_REGISTRIES = ("_parameters", "_buffers", "_modules")


def audit_unregistered_tensors(subject):
    """A Defect if .to() then breaks the forward, else a note."""
    target = subject.fresh_module()
    known = _registered_ids(target)
    found = [
        f"{prefix}.{name}{keystr(path)}" if prefix else f"{name}{keystr(path)}"
        for prefix, child in target.named_modules()
        for name, value in vars(child).items()
        if name not in _REGISTRIES
        for path, leaf in tree_flatten_with_path(value)[0]
        if _is_unregistered(leaf, known)
    ]
    if not found:
        return []
    message = f"{found[0]} is a tensor that .to() and state_dict do not see: use register_buffer"
    for dtype in (torch.float32, torch.bfloat16):
        after_to, with_all = (_forward_after_to(subject, dtype, cast_all) for cast_all in (False, True))
        if after_to != with_all and not with_all.startswith("raises"):
            details = f"after .to({dtype}) the forward {after_to}; with {found[0]} converted too, it {with_all}"
            raise Defect(message, [details])
    return [message]


def _registered_ids(module):
    return {id(tensor) for tensor in [*module.parameters(), *module.buffers()]}


def _is_unregistered(value, known):
    return isinstance(value, torch.Tensor) and is_inexact(value) and id(value) not in known


def _forward_after_to(subject, dtype, cast_all):
    """What the forward does after .to(dtype), and after the unregistered tensors were converted too."""
    target = subject.fresh_module()
    if cast_all:
        _cast_unregistered(target, dtype)
    try:
        outputs = call_module(subject, target.to(dtype), subject.fresh_tensors(dtype=dtype))
    except Exception as error:
        return f"raises: {first_line(error)}"
    return f"gives {', '.join(sorted({str(output.dtype) for output in outputs if is_inexact(output)}))}"


def _cast_unregistered(module, dtype):
    known = _registered_ids(module)

    def converted(leaf):
        return cast(leaf.detach(), dtype) if _is_unregistered(leaf, known) else leaf

    for child in module.modules():
        for name, value in vars(child).items():
            if name not in _REGISTRIES and any(_is_unregistered(leaf, known) for leaf in tree_leaves(value)):
                vars(child)[name] = tree_map(converted, value)
