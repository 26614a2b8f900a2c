"""Global settings of torch, which hold for the whole process: whether a call leaves them as they were."""

import torch

_SETTINGS = {  # name: (get, set)
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.get_default_dtype()": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.get_num_threads()": (torch.get_num_threads, torch.set_num_threads),
    "torch.is_anomaly_enabled()": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch.are_deterministic_algorithms_enabled()": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.get_float32_matmul_precision()": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
}


def current_settings():
    """{name: value}"""
    return {name: get() for name, (get, _) in _SETTINGS.items()}


def restore_settings(before):
    """Set everything that has changed back to `before`; return the changes, {name: (before, after)}."""
    changed = {}
    for name, after in current_settings().items():
        if after != before[name]:
            changed[name] = before[name], after
            _SETTINGS[name][1](before[name])
    return changed
