"""`fit` as a method of the engine's optimizers."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchbp.engine.fitting.fit import History, fit


class FitMethod:
    """What an optimizer of the engine inherits `fit` from."""

    def fit(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        batch_size: int = 32,
        max_epochs: int = 100,
        shuffle: bool = True,
        bagging: bool = False,
        rows: torch.Tensor | Sequence[Any] | None = None,
        validation: tuple[torch.Tensor, torch.Tensor] | str | None = None,
        generator: torch.Generator | None = None,
        min_delta: float = 1e-4,
        patience: int = 20,
        min_grad_norm: float = 0.0,
        progress: bool | None = None,
        until: Callable[[], bool] | None = None,
    ) -> torch.Tensor | History:
        """Descend until the loss reaches its minimum, on rows in memory.

        One network stops where its loss, the mean over an epoch, has not fallen by more than `min_delta` in `patience`
        epochs, or where ‖∇L‖₂ is under `min_grad_norm` at an epoch's end. Each member of an ensemble does so on its
        own: it keeps its weights from then on, and the others go on. With `validation` it is the loss over those rows
        that must fall, and at the end each network is as it was after the epoch in which it was lowest, with its
        weights and what the optimizer keeps of them.

        Args:
            x: `(N, in_features)`, of the dtype and device of the model; of an ensemble also `(E, N, in_features)`, rows
                of each member's own.
            y: `(N, outputs)`, real numbers; for a loss of classes `(N)`, int64; of an ensemble also `(E, N, …)`.
            batch_size: rows of a step; an epoch's last one has what is left.
            max_epochs: at most so many times over all rows.
            shuffle: whether each epoch has an order of its own, the same for all members.
            bagging: whether each member has N rows of its own, drawn with replacement, once.
            rows: those that are trained on: bools `(N)`, or the places of the rows. Of an ensemble bools `(E, N)`, or a
                list of the places of each member's rows, of any number; a member takes the steps that it would alone.
            validation: `(x, y)`, or "rest": the rows that `rows` or `bagging` leave out, of each member its own.
            generator: a `torch.Generator` of the CPU, for the order and the bags; None is torch's global one.
            progress: a bar on stderr: None on a terminal if it takes more than two seconds, True, or False.
            until: is called after each epoch; where it returns true, the training ends, as after `max_epochs`: for a
                limit of time, or a signal.

        Returns:
            The history of the loss, float64 on the CPU, `(epochs)` or `(epochs, E)`; with `validation` a named tuple of
            two, `training` and `validation`. `print(optimizer.minimum)` says why it stopped, after how many epochs, and
            how low the loss was.

        Raises:
            ValueError: an argument out of range, rows that do not fit, or nan or inf in them, with their place.
            FloatingPointError: a loss that is no finite number any more, with the layer; where members remain that go
                on, it is a warning that names the others.

        Example:
            >>> optimizer = torchbp.SGD(torchbp.nn.MLP(30, 16, 1, members=8), lr=0.5)
            >>> history = optimizer.fit(torch.randn(256, 30), torch.rand(256, 1).round(), max_epochs=10)  # (10, 8)
        """
        return fit(
            self,
            x,
            y,
            batch_size=batch_size,
            max_epochs=max_epochs,
            shuffle=shuffle,
            bagging=bagging,
            rows=rows,
            validation=validation,
            generator=generator,
            min_delta=min_delta,
            patience=patience,
            min_grad_norm=min_grad_norm,
            progress=progress,
            until=until,
        )
