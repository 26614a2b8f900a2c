"""Gradient descent by the engine, several batches in one step of Lightning's loop."""

import torch

from torchbp.training.errors import UserError


def engine_steps(optimizer, x, y, batch_size):
    """One step of `torchbp.SGD` on each batch of the rows x, `(N, features)`, and y, `(N, outputs)`.

    Returns the sum of the rows' losses, each at the weights before its step, `()` or, of an ensemble, `(E)`.

    Raises:
        UserError: nan or inf, under trainer.detect_anomaly.
    """
    batches = zip(x.split(batch_size), y.split(batch_size), strict=True)
    try:
        losses = torch.stack([optimizer.backprop_step(*batch) for batch in batches])
    except FloatingPointError as error:
        raise UserError(f"trainer.detect_anomaly: {error}") from None
    last = len(x) - batch_size * (len(losses) - 1)  # rows of the last batch
    return losses[:-1].sum(0).mul_(batch_size).add_(losses[-1], alpha=last)
