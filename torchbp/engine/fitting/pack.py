"""`torchbp.engine.Pack`: the training of many networks that are not alike, each as if it were alone."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from torchbp.engine.fitting.fit import History, descended
from torchbp.engine.fitting.fit_arguments import row_dims_of
from torchbp.engine.fitting.row_choice import mask_of
from torchbp.engine.fitting.stopping import NOT_FINITE
from torchbp.engine.optimizers.sgd import SGD
from torchbp.engine.stacking import grouped, networks_of, stacked, write_back


class Pack:
    """Many networks that differ in depth, widths, activations, dropout, options of the optimizer and rows.

    Those with the same layers are trained as one ensemble, in batched products; `fit` goes through these groups one
    after the other. Each network is, to 1e-12, the one that is trained alone.

    Args:
        networks: models that `torchbp.SGD` takes, single ones. A layer that has no form for ensembles, as batch norm,
            makes a network a group of its own; `Linear`, activations, `LayerNorm` and `RMSNorm` of the last dimension,
            and `Dropout`, whose p may differ, do not.
        optimizer: `torchbp.SGD`, or another optimizer of the engine.
        **options: those of the optimizer; a list or a tensor has one for each network.

    `networks` are the models, which `fit` trains in place, `groups` the places of those that are trained together, and
    `optimizers` theirs. After `fit`, `minimum` says of all networks why they stopped.

    Raises:
        ValueError: no network, one twice, an ensemble, or an option with another number of values.
        TypeError: a model that the engine does not run.

    Example:
        >>> nets = [torchbp.nn.MLP(30, 16, 1), torchbp.nn.MLP(30, 8, 8, 1), torchbp.nn.MLP(30, 16, 1)]
        >>> pack = torchbp.engine.Pack(nets, lr=[0.1, 0.2, 0.5])
        >>> history = pack.fit(torch.randn(64, 30), torch.rand(64, 1).round(), max_epochs=5)  # (5, 3)
    """

    def __init__(self, networks: Iterable[torch.nn.Module], optimizer: type = SGD, **options: Any) -> None:
        self.networks = list(networks)
        if not self.networks:
            raise ValueError("Pack: there is no network in the list")
        self._networks = networks_of(self.networks)
        self.groups, self.optimizers, self.minimum = grouped(self._networks), [], None
        count = len(self.networks)
        for group in self.groups:
            alone = len(group) == 1
            model = self.networks[group[0]] if alone else stacked([self._networks[i] for i in group])
            of_group = {name: option_of(name, value, group, count) for name, value in options.items()}
            if alone:
                of_group.pop("chunk", None)
            self.optimizers.append(optimizer(model, **of_group))

    def fit(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        rows: torch.Tensor | Sequence[Any] | None = None,
        validation: tuple[torch.Tensor, torch.Tensor] | str | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 32,
        max_epochs: int = 100,
        shuffle: bool = True,
        min_delta: float = 1e-4,
        patience: int = 20,
        min_grad_norm: float = 0.0,
        progress: bool | None = None,
        until: Callable[[], bool] | None = None,
    ) -> torch.Tensor | History:
        """Train each network until its loss reaches its minimum; as `torchbp.SGD.fit` of an ensemble, whose members the
        networks are.

        All networks see the rows in the same order, which is that of `SGD.fit` with this generator. Each group is
        trained for one epoch at least, also where `until` returns true before.

        Returns:
            The history, `(epochs, networks)`, of as many epochs as the longest training had; that of a network that
            stopped before stays as it was. With `validation` a named tuple of two.

        Raises:
            ValueError, FloatingPointError: as `torchbp.SGD.fit`.

        Example:
            >>> nets = [torchbp.nn.MLP(30, size, 1) for size in (4, 8)]
            >>> folds, x, y = [range(40), range(24, 64)], torch.randn(64, 30), torch.rand(64, 1).round()
            >>> training, validation = torchbp.engine.Pack(nets, lr=0.5).fit(x, y, rows=folds, validation="rest")
        """
        count, dims = len(self.networks), row_dims_of(self.optimizers[0].loss)
        mask = None if rows is None else mask_of(rows, count, x.shape[-2])
        stream = torch.default_generator if generator is None else generator
        for optimizer in self.optimizers:
            optimizer.network.draw_keys(generator)
        state, parts = stream.get_state(), []
        options = {
            "batch_size": batch_size,
            "max_epochs": max_epochs,
            "shuffle": shuffle,
            "min_delta": min_delta,
            "patience": patience,
            "min_grad_norm": min_grad_norm,
            "progress": progress,
            "until": until,
        }
        for group, optimizer in zip(self.groups, self.optimizers, strict=True):
            index = group if len(group) > 1 else group[0]
            of = [of_group(x, 2, index), of_group(y, 1 + dims, index)]
            held_out = validation
            if isinstance(validation, (tuple, list)) and len(validation) == 2:
                held_out = tuple(of_group(t, d, index) for t, d in zip(validation, (2, 1 + dims), strict=True))
            stream.set_state(state)
            try:
                own = None if mask is None else mask[index]
                history, _ = descended(optimizer, *of, rows=own, validation=held_out, generator=generator, **options)
            finally:
                if len(group) > 1:
                    write_back(optimizer.model, [self._networks[i] for i in group])
            parts.append(history)
        self._report()
        histories = self._of_all([history if history.dim() > 2 else history.unsqueeze(-1) for history in parts])
        return History(*histories) if validation is not None else histories[0]

    def _of_all(self, parts):
        """(2, epochs, networks), from the histories of the groups, (2, epochs, members)."""
        epochs = max(part.shape[1] for part in parts)
        found = parts[0].new_empty(2, epochs, len(self.networks))
        for group, part in zip(self.groups, parts, strict=True):
            found[:, : part.shape[1], group] = part
            found[:, part.shape[1] :, group] = part[:, -1:]
        return found

    def _report(self):
        """Put the `minimum` of the groups together, and say which losses became nan or inf."""
        first = self.optimizers[0].minimum
        minimum = type(first)(first.min_delta, first.patience, first.min_grad_norm, len(self.networks))
        for name, of_all in list(vars(minimum).items()):
            if isinstance(of_all, torch.Tensor):
                for group, optimizer in zip(self.groups, self.optimizers, strict=True):
                    of_all[group] = getattr(optimizer.minimum, name)
        self.minimum = minimum
        lost = (minimum.why == NOT_FINITE).nonzero().flatten().tolist()
        if lost:
            message = f"the loss of these networks became nan or inf: {', '.join(map(str, lost))}; a smaller lr helps"
            if len(lost) == len(self.networks):
                raise FloatingPointError(message)
            warnings.warn(message, stacklevel=3)


def option_of(name, value, group, count):
    """The option of these networks: of a list or a tensor of one for each network, those of the group."""
    if isinstance(value, tuple):
        return tuple(option_of(name, part, group, count) for part in value)
    if not isinstance(value, list) and not (isinstance(value, torch.Tensor) and value.dim()):
        return value
    if len(value) != count:
        raise ValueError(f"{name} has {len(value)} values; give one for each of {count} networks, or one for all")
    own = [float(value[i]) for i in group]
    return own if len(group) > 1 else own[0]


def of_group(t, shared, index):
    """The rows of these networks: all of a table that they share, which has so many dimensions."""
    return t if not isinstance(t, torch.Tensor) or t.dim() <= shared else t[index]
