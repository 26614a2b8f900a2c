"""A draw: three configurations, one of each depth, and their networks, one for each fold. It is trained as a whole.

What a draw is, depends on the rows, the seed and its number alone. So whichever process trains it, before or after an
interruption, its members are the same, bit for bit.
"""

import contextlib

import numpy as np
import torch

from torchbp.estimators import PackClassifier
from torchbp.estimators.pack_training import PackTraining, evaluated
from torchbp.training.atomic_write import atomic_save, atomic_write
from torchbp.training.errors import UserError

OF_DRAW = len(PackTraining.depths)  # configurations


def options_of(folds, **changed):
    """The options of a pack: the defaults of `torchbp.estimators.PackClassifier`, but for those given."""
    return PackClassifier(folds=folds).get_params() | changed


def train_draw(number, rows, until=None, **options):
    """The draw of this number, as a dict of plain values and tensors.

    number: from 0. rows: a `PackRows`. until(share): is called after each epoch of a configuration, and may end its
    training; share: of the work of the draw, what this configuration and those before it are. options: of the pack's
    training, where they are no defaults.
    """
    target, loss = rows.target
    folds = len(rows.fold_sizes)
    random = np.random.RandomState([rows.seed % 2**32, number])
    options = options_of(folds, members=OF_DRAW * folds, **options)
    draw = PackTraining(options, rows.array[rows.fitted], rows.fitted_weight, rows.task.outputs, loss, random)
    work = np.cumsum([sum(p.numel() for p in of_one[0].parameters()) for of_one in draw.networks])
    ends = until and (lambda place: until(work[place] / work[-1]))
    try:
        with one_thread():
            fit_folds(draw, rows, target, ends)
        answers = torch.stack([_held_out_answers(draw, networks, rows) for networks in draw.networks])
    except FloatingPointError:  # all of them have
        answers = torch.full((OF_DRAW, len(rows.scored), rows.task.outputs), torch.nan)
    configurations = [
        {
            "number": number * OF_DRAW + place + 1,
            "hidden": list(one.hidden_layer_sizes),
            "lr": one.learning_rate,
            "weight_decay": one.weight_decay,
            "dropout": one.dropout,
            "frequency": one.frequency,
            "epochs": draw.epochs[place],
        }
        for place, one in enumerate(draw.configurations)
    ]
    networks = [[dict(network.state_dict()) for network in of_one] for of_one in draw.networks]
    return {"number": number, "configurations": configurations, "networks": networks, "answers": answers.float()}


def fit_folds(draw, rows, target, until):
    """Train each configuration without each fold's rows, and without those that fill no batch."""
    trained, batch = draw.equal_batches(rows.count - max(rows.fold_sizes))
    around = rows.count if len(rows.fold_sizes) == 1 else rows.starts[-1]  # rows that are in no fold are trained on
    held_out = [(start + torch.arange(rows.count - trained)) % around for start in rows.starts[:-1]]
    return draw.fit_without(held_out, rows.array, target, batch_size=batch, until=until)


@contextlib.contextmanager
def one_thread():
    """A context in which torch computes with one thread. The products of such networks are small: two threads wait for
    each other, on a busy machine ten times as long as they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _held_out_answers(draw, networks, rows):
    """The answers of a configuration to the rows that it is chosen by, each by the network that did not train on it."""
    answers = torch.empty(len(rows.scored), rows.task.outputs, dtype=torch.double)
    for fold, network in enumerate(networks):
        inside, places = rows.scored_of(fold)
        answers[inside] = rows.task.answers(evaluated(network)(draw.scaled(rows.array[places.numpy()])))
    return answers


def write_draw(draw, folder):
    atomic_save(draw, _path(folder, draw["number"]))
    _path_of_cut(folder, draw["number"]).unlink(missing_ok=True)


def write_cut(number, seconds, folder):
    """Note that the time was used when the draw of this number had been trained for so many seconds: it was lost."""
    with atomic_write(_path_of_cut(folder, number)) as temporary:
        temporary.write_text(f"{seconds:.3f}")


def read_cuts(folder):
    """{number: seconds} of what `write_cut` has written."""
    return {int(path.stem): float(path.read_text()) for path in folder.glob("*.cut")}


def drawn_numbers(folder):
    """The numbers of the draws in a folder."""
    return {int(path.stem) for path in folder.glob("*.ckpt") if path.stem.isdigit()}


def read_draw(folder, number):
    """A draw that `write_draw` has written. UserError if the file is damaged."""
    path = _path(folder, number)
    try:
        draw = torch.load(path, weights_only=True, map_location="cpu")
        valid = draw["number"] == number and len(draw["networks"]) == len(draw["configurations"]) == len(
            draw["answers"]
        )
    except Exception:  # a damaged file may raise anything
        valid = False
    if not valid:
        raise UserError(f"{path} is damaged; delete it, and resume the run: it is trained again")
    return draw


def _path(folder, number):
    return folder / f"{number}.ckpt"


def _path_of_cut(folder, number):
    return folder / f"{number}.cut"
