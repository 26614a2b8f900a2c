"""Gradient descent by the engine, several batches in one step of Lightning's loop."""

import torch

from torchbp.training.errors import SettingError, UserError


def engine_steps(optimizer, x, y, batch_size):
    """One step of an optimizer of the engine on each batch of the rows x, `(N, features)`, and the targets y, `(N, …)`.

    Returns the sum of the rows' losses, each at the weights before its step, `()` or, of an ensemble, `(E)`.

    Raises:
        UserError: nan or inf, under trainer.detect_anomaly.
        SettingError: steps that cannot be compiled, with model.compile.
    """
    try:
        whole = len(x) // batch_size if optimizer.compiled is not None else 0
        losses = []
        if whole:
            rows = whole * batch_size
            stacks = (t[:rows].unflatten(0, (whole, batch_size)).contiguous() for t in (x, y))
            losses = list(optimizer.backprop_steps(*stacks))
            x, y = x[rows:], y[rows:]
        last = len(x) % batch_size or (batch_size if len(x) or whole else 0)  # rows of the last batch
        for batch in zip(x.split(batch_size), y.split(batch_size), strict=True) if len(x) else ():
            losses.append(optimizer.backprop_step(*batch))
    except FloatingPointError as error:
        raise UserError(f"trainer.detect_anomaly: {error}") from None
    except TypeError as error:
        if "compile" in str(error):
            raise SettingError(f"model.compile=true: {error}") from None
        raise
    losses = torch.stack(losses)
    return losses[:-1].sum(0).mul_(batch_size).add_(losses[-1], alpha=last)
