"""`torchbp explain`: a row of data through a network, trained or fresh, in the terminal, as JSON or as a page."""

import os
import re
import sys
from pathlib import Path
from typing import Literal

import torch
from pytorch_lightning import Trainer

from torchbp.explanation.explaining import explain
from torchbp.explanation.text import closing, heading
from torchbp.explanation.what_if import WEIGHTS, saturate
from torchbp.training.arguments import GROUPS, LINKED, Parser, configs_first, known_keys, nearest
from torchbp.training.classifier import Classifier
from torchbp.training.columns import feature_names
from torchbp.training.command import DEFAULTS, quieten
from torchbp.training.data import TabularData
from torchbp.training.errors import SettingError, UserError
from torchbp.training.files import read_checkpoint, written_whole
from torchbp.training.guards import compare
from torchbp.usage import OPTIONS

FEW = 8  # rows of a table that is explained whole


class ExplainParser(Parser):
    def error(self, message, ex=None):
        if unknown := re.search(r"unrecognized arguments: --([^\s=]+)", message):
            keys = [*OPTIONS["explain"], *known_keys()]
            raise SettingError(f"there is no key {unknown[1]!r}; {nearest(unknown[1], keys)}")
        super().error(message.replace("are required: ", "are required: explain."))  # as a subcommand's keys are named


def main(arguments):
    """Run `torchbp explain ARGUMENTS…`. Returns the exit status: 0, 1 for unusable data, 2 for an argument."""
    quieten()
    try:
        run(settings_of(arguments))
    except UserError as error:
        print(f"torchbp: error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"torchbp: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def settings_of(arguments):
    """The keys of training, so that a run's file is taken as it is, and those of this command."""
    parser = ExplainParser(prog="torchbp explain", allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config", help="A file of keys in YAML.")
    parser.add_argument("--seed_everything", type=int, default=0, help="The seed of the first weights.")
    parser.add_argument("--ckpt_path", type=str | None, default=None, help="The trained network; none is a fresh one.")
    parser.add_argument("--row", type=int | None, default=None, help="The row of the data, from 1.")
    parser.add_argument("--lr", type=float | None, default=None, help="The learning rate; by default model.lr.")
    parser.add_argument("--layer", type=int | None, default=None, help="Print one layer, from 1.")
    parser.add_argument("--weights", type=Literal[tuple(WEIGHTS)] | None, default=None, help="What if they were so?")
    parser.add_argument("--saturate", type=bool, nargs="?", const=True, default=False, help="What if it were sure?")
    parser.add_argument("--json", type=str | None, default=None, help="Write the explanation to this file.")
    parser.add_argument("--html", type=str | None, default=None, help="Write it as a page to this file.")
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in DEFAULTS.items()})
    parser.add_class_arguments(GROUPS["model"], "model", skip=set(LINKED), instantiate=False)
    parser.add_class_arguments(GROUPS["data"], "data", instantiate=False)
    for name in ("stopping", "gradients", "checkpoint"):
        parser.add_class_arguments(GROUPS[name], name, instantiate=False)
    return parser.parse_args(configs_first(arguments)[1:])


def run(settings):
    for path, suffix in ((settings.json, ".json"), (settings.html, ".html")):
        if path is not None:
            check_file(Path(path), suffix)
    data = TabularData(**settings.data.as_dict())
    model = network(settings, data).double()
    rows, title = chosen(settings.row, data)
    x, y = data.rows(rows)
    with torch.no_grad():
        x, y = model.standardize(x.double()), y.double()
    title = f"{title}; features scaled; {'a trained network' if settings.ckpt_path else 'fresh weights'}"
    try:
        if settings.weights:
            WEIGHTS[settings.weights](model.net, x, y)
            title += f", --weights {settings.weights}"
        if settings.saturate:
            saturate(model.net, x, y)
            title += ", --saturate"
        lr = settings.lr if settings.lr is not None else model.hparams.lr
        explanation = explain(
            model.net, x, y, lr, model.loss, title, features=feature_names(data.columns), outputs=outputs(data)
        )
        text = explanation.text(settings.layer)
    except (TypeError, ValueError) as error:
        raise SettingError(str(error)) from None
    if not (settings.json or settings.html):
        print(text, flush=True)
        return
    print("\n".join([*heading(explanation), "", *closing(explanation)]))
    for path, content in ((settings.json, explanation.json), (settings.html, explanation.html)):
        if path is not None:
            with written_whole(path) as temporary:
                temporary.write_text(content(), encoding="utf-8")
            print(f"wrote    {path}")


def check_file(path, suffix):
    if path.suffix != suffix or path.is_dir():
        raise SettingError(f"--{suffix[1:]} {path} must be a file that ends in {suffix}")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")


def network(settings, data):
    """The classifier of the checkpoint, which must be of these settings and this data, or a fresh one by the seed, as
    `fit` would begin with it."""
    torch.manual_seed(settings.seed_everything)
    model = Classifier(**{name: getattr(data, name) for name in LINKED}, **settings.model.as_dict())
    if settings.ckpt_path:
        checkpoint = read_checkpoint(settings.ckpt_path)
        compare(checkpoint["hyper_parameters"], model.hparams, settings.ckpt_path)
        return Classifier.of_checkpoint(checkpoint, settings.ckpt_path)
    model.trainer = Trainer(accelerator="cpu", **DEFAULTS | {"logger": False, "enable_checkpointing": False})
    model.trainer.datamodule = data
    model.setup("fit")  # fits the scaling to the training rows
    model.trainer = None
    return model.eval()


def chosen(row, data):
    """A tensor of the rows to explain, and what they are called."""
    count, source = len(data.table.labels), Path(data.source).name
    if row is None and count <= FEW:
        return torch.arange(count), f"{source}, all {count} rows"
    row = 1 if row is None else row
    if not 1 <= row <= count:
        raise SettingError(f"--row {row} is not there; {data.source} has the rows 1 to {count}")
    label = data.table.labels[row - 1]
    if data.multilabel:
        named = ", ".join(name for name, yes in zip(data.classes, label.tolist(), strict=True) if yes) or "none"
    else:
        named = data.classes[label]
    return torch.tensor([row - 1]), f"{source}, row {row}, which is {named}"


def outputs(data):
    """What each output is the probability of."""
    return data.classes[1:] if len(data.classes) == 2 and not data.multilabel else data.classes
