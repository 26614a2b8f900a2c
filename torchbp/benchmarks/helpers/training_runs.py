"""Whole runs of training, each a function of a `Task`: the same rows, batches and steps, ours and the peers'."""

import tempfile
import time
from dataclasses import dataclass
from functools import cached_property

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from sklearn.neural_network import MLPClassifier
from torch.utils.data import DataLoader, TensorDataset

from torchbp.benchmarks.helpers.networks import torch_network
from torchbp.nn import MLP, BCEWithLogitsLoss, CrossEntropyLoss
from torchbp.scaling import Standard
from torchbp.training import Network, TabularData, UntilMinimum
from torchbp.training.callbacks.gradient_monitor import GradientMonitor
from torchbp.training.callbacks.progress import EpochProgress
from torchbp.training.checkpoints.saving import AtomicCheckpointIO, BestAndLast

LR = 0.5


@dataclass(frozen=True)
class Task:
    """What is trained on what, for how long.

    sizes: of the network, with one hidden layer or more; `sizes[0]` and `sizes[-1]` are those of x and y.
    device: "cpu" or "cuda".
    """

    data: TabularData
    sizes: tuple[int, ...]
    epochs: int
    device: str = "cpu"

    @cached_property
    def rows(self):
        """The training split, standardised: x `(N, sizes[0])`; y `(N, 1)`, or `(N)` of more than two classes."""
        x, y = self.data.rows("train")
        scale = Standard(self.sizes[0])
        scale.fit(x)
        return scale(x), y

    @property
    def has_two_classes(self):
        return self.data.task == "binary"

    @property
    def steps(self):
        """Of gradient descent in a run."""
        return self.epochs * -(-len(self.data.splits["train"]) // self.data.batch_size)


class Peer(pl.LightningModule):
    """The least that Lightning can train."""

    def __init__(self, task):
        super().__init__()
        self.net, self.loss = torch_network(*task.sizes), _torch_loss(task)

    def training_step(self, batch):
        x, y = batch
        return self.loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=LR)


class TimedMonitor(GradientMonitor):
    """`seconds` is what it has taken at the ends of epochs so far."""

    seconds = 0.0

    def on_train_epoch_end(self, trainer, pl_module):
        start = time.perf_counter()
        super().on_train_epoch_end(trainer, pl_module)
        self.seconds += time.perf_counter() - start


def _trainer(task, **settings):
    silent = {"enable_progress_bar": False, "enable_model_summary": False}
    accelerator = "gpu" if task.device == "cuda" else "cpu"
    return pl.Trainer(max_epochs=task.epochs, accelerator=accelerator, devices=1, **silent, **settings)


def _bare_trainer(task):
    """It neither validates, logs nor writes."""
    return _trainer(task, limit_val_batches=0, logger=False, enable_checkpointing=False)


def _classifier(task, engine="autograd"):
    return Network(
        task.sizes[0],
        task.data.classes,
        task=task.data.task,
        hidden=list(task.sizes[1:-1]),
        activation="sigmoid",
        scaling="standard",
        optimizer="sgd",
        lr=LR,
        weight_decay=0.0,
        engine=engine,
    )


def lightning(task):
    """torch.nn, and a loader that collects a batch row by row, as Lightning's own examples do."""
    loader = DataLoader(TensorDataset(*task.rows), batch_size=task.data.batch_size, shuffle=True)
    _bare_trainer(task).fit(Peer(task), loader)


def our_trainer(task, engine="autograd"):
    """Our module and data; the scaling is part of the network, and each step adds to the loss."""
    _bare_trainer(task).fit(_classifier(task, engine), task.data)


def our_fit(task, engine="autograd"):
    """What `torchbp fit` runs, as the configs have it, to the last epoch. Returns GradientMonitor's share of the time.

    The full gradient of each epoch is computed, and never small enough to stop.
    """
    start = time.perf_counter()
    monitor = TimedMonitor()
    stopping = UntilMinimum(min_grad_norm=1e-30, patience=task.epochs + 1)
    with tempfile.TemporaryDirectory() as folder:
        _trainer(
            task,
            callbacks=[stopping, monitor, BestAndLast(), EpochProgress()],
            logger=CSVLogger(folder, "run"),
            log_every_n_steps=1,
            plugins=[AtomicCheckpointIO()],
        ).fit(_classifier(task, engine), task.data)
    return monitor.seconds / (time.perf_counter() - start)


def _raw_loop(task, net, loss):
    net = net.to(task.device)
    x, y = (t.to(task.device) for t in task.rows)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    for _ in range(task.epochs):
        for rows in torch.randperm(len(x)).to(task.device).split(task.data.batch_size):
            optimizer.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimizer.step()


def our_loop(task):
    _raw_loop(task, MLP(*task.sizes), BCEWithLogitsLoss() if task.has_two_classes else CrossEntropyLoss())


def torch_loop(task):
    _raw_loop(task, torch_network(*task.sizes), _torch_loss(task))


def _torch_loss(task):
    return torch.nn.BCEWithLogitsLoss() if task.has_two_classes else torch.nn.CrossEntropyLoss()


def scikit_learn(task):
    """Its loss is ours. It never stops before its last epoch."""
    x, y = (t.numpy() for t in task.rows)
    MLPClassifier(
        hidden_layer_sizes=task.sizes[1:-1],
        activation="logistic",
        solver="sgd",
        alpha=0.0,
        batch_size=task.data.batch_size,
        learning_rate_init=LR,
        momentum=0,
        nesterovs_momentum=False,
        max_iter=task.epochs,
        n_iter_no_change=task.epochs + 1,
        tol=0,
    ).fit(x, y.ravel())
