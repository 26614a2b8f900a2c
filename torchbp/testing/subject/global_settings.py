"""Switches of torch that hold for the whole process: whether a call leaves them as they were."""

import torch

SWITCHES = {
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


def positions():
    return {name: get() for name, (get, _) in SWITCHES.items()}


def put_back(before):
    """Put every switch back that was moved since; {name: (before, after)}."""
    moved = {}
    for name, after in positions().items():
        if after != before[name]:
            moved[name] = before[name], after
            SWITCHES[name][1](before[name])
    return moved
