"""Whole trainings on rows in memory, shuffled and gathered in each epoch: ours, and the peers' that torch comes with.

As a program it is one variant, in a process with threads of its own: for each line of its input it makes one training,
and prints the seconds of it, {name: seconds}.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch

from torchbp.benchmarks.helpers.networks import torch_network
from torchbp.engine import SGD, AdamW
from torchbp.nn import MLP

LR = {"SGD": 0.1, "AdamW": 1e-3}
LOOP, LOADER = "raw loop, torch.nn", "DataLoader, torch.nn"
FIT, EAGER, COMPILED = "fit", "fit, compile=False", "fit, compile=True"
SKLEARN, JAX = "scikit-learn", "JAX lax.scan"


class Training(NamedTuple):
    """sizes: of the network, with one output. batch: rows of a step."""

    sizes: tuple
    batch: int
    optimizer: str
    rows: int
    epochs: int

    def data(self):
        """x `(rows, sizes[0])`, and y `(rows, 1)`, zeros and ones that a linear function of x gives."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.rows, self.sizes[0], generator=generator)
        return x, (x @ torch.randn(self.sizes[0], 1, generator=generator) > 0).float()


def raw_loop(training, x, y):
    """What people write: a permutation, and the optimizer's fused step."""
    net, optimizer, loss = _torch_parts(training)
    for _ in range(training.epochs):
        for rows in torch.randperm(len(x)).split(training.batch):
            _torch_step(optimizer, loss, net, x[rows], y[rows])
    return list(net.parameters())


def loader(training, x, y):
    """The same by torch's DataLoader, which collects a batch row by row."""
    net, optimizer, loss = _torch_parts(training)
    dataset = torch.utils.data.TensorDataset(x, y)
    batches = torch.utils.data.DataLoader(dataset, batch_size=training.batch, shuffle=True)
    for _ in range(training.epochs):
        for rows in batches:
            _torch_step(optimizer, loss, net, *rows)
    return list(net.parameters())


def _torch_parts(training):
    net = torch_network(*training.sizes)
    optimizer = getattr(torch.optim, training.optimizer)(net.parameters(), lr=LR[training.optimizer], fused=True)
    return net, optimizer, torch.nn.BCEWithLogitsLoss()


def _torch_step(optimizer, loss, net, x, y):
    optimizer.zero_grad()
    loss(net(x), y).backward()
    optimizer.step()


def our_fit(training, x, y, **options):
    net = MLP(*training.sizes)
    optimizer = {"SGD": SGD, "AdamW": AdamW}[training.optimizer](net, lr=LR[training.optimizer], **options)
    optimizer.fit(x, y, batch_size=training.batch, max_epochs=training.epochs, progress=False)
    return list(net.parameters())


def scikit_learn(training, x, y):
    """It never stops before its last epoch. Its solver "adam" has no decay here."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        hidden_layer_sizes=training.sizes[1:-1],
        activation="logistic",
        solver={"SGD": "sgd", "AdamW": "adam"}[training.optimizer],
        alpha=0.0,
        batch_size=training.batch,
        learning_rate_init=LR[training.optimizer],
        momentum=0,
        nesterovs_momentum=False,
        max_iter=training.epochs,
        n_iter_no_change=training.epochs + 1,
        tol=0,
    ).fit(x.numpy(), y.squeeze(1).numpy())
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return [torch.from_numpy(t) for weight, bias in pairs for t in (weight.T.copy(), bias)]


def timed(name, function, *arguments, **options):
    start = time.perf_counter()
    parameters = function(*arguments, **options)
    return {name: time.perf_counter() - start}, parameters


@contextmanager
def empty_caches():
    """A context in which no program was compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHBP_CACHE_DIR"] = f"{folder}/native"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        yield


def default_fit(training, x, y):
    with empty_caches():
        return timed(FIT, our_fit, training, x, y)


def eager_fit(training, x, y):
    return timed(EAGER, our_fit, training, x, y, compile=False)


def compiled_fit(training, x, y):
    """The first has empty folders of compiled programs; the second finds what the first has compiled."""
    with empty_caches():
        torch._dynamo.reset()
        cold, _ = timed(f"{COMPILED}, cold", our_fit, training, x, y, compile=True)
        torch._dynamo.reset()
        warm, parameters = timed(f"{COMPILED}, warm", our_fit, training, x, y, compile=True)
    return cold | warm, parameters


def jax_fit(training, x, y):
    from torchbp.benchmarks.helpers.jax.jax_fit import compile_and_run

    return compile_and_run(training, x, y, LR[training.optimizer])


def one(name, function):
    return lambda *of: timed(name, function, *of)


# each gives {name: seconds} of one training, or of two, and the parameters W_1, b_1, … at its end
VARIANTS = {
    LOOP: one(LOOP, raw_loop),
    LOADER: one(LOADER, loader),
    SKLEARN: one(SKLEARN, scikit_learn),
    JAX: jax_fit,
    FIT: default_fit,
    EAGER: eager_fit,
    COMPILED: compiled_fit,
}


def main(arguments):
    """`arguments`: the variant, the training, and the number of threads, of torch and of all others."""
    with suppress(AttributeError):  # macOS and Windows have no such call
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments["threads"]])
    torch.set_num_threads(arguments["threads"])
    warnings.simplefilter("ignore")
    variant, training = VARIANTS[arguments["variant"]], Training(*arguments["training"])
    x, y = training.data()
    if arguments["variant"] != COMPILED:  # libraries set themselves up; what a compiler does is in its time
        few = min(len(x), 2 * training.batch)
        variant(training._replace(rows=few, epochs=1), x[:few], y[:few])
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(variant(training, x, y)[0]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
