"""`torchbp explain`: one step of a network on rows of data, in the terminal, as JSON or as a page."""

import contextlib
import inspect
import re
import sys
from pathlib import Path

import torch
from pytorch_lightning import Trainer

from torchbp.cli import keys
from torchbp.cli.keys import LINKED, TRAINER_DEFAULTS
from torchbp.explanation.cli.data_rows import Rows
from torchbp.explanation.cli.what_if import WEIGHTS, saturate
from torchbp.explanation.explanation import explain
from torchbp.explanation.render.text import closing, heading
from torchbp.printing import complain, say
from torchbp.training.atomic_write import atomic_write
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.cli.arguments import Parser, configs_first, known_keys, nearest
from torchbp.training.cli.finite_answers import check_finite
from torchbp.training.cli.lightning_quiet import silence_lightning
from torchbp.training.cli.trained_settings import add_settings, settings_of_rows
from torchbp.training.data.columns import feature_names
from torchbp.training.data.tabular import TabularData
from torchbp.training.data.trained import saved_reading
from torchbp.training.errors import SettingError, UserError
from torchbp.training.model.loading import is_pack, load_model
from torchbp.training.model.network import Network

SCALED = {
    "standard": "standardised",
    "ranked": "as ranks, and standardised and clipped smoothly at ±4",
    "clipped": "standardised, and clipped smoothly at ±4",
    "robust": "scaled by their quartiles, and clipped smoothly at ±3",
    "quantile": "made normally distributed by their quantiles",
    "none": "as they are",
}


class ExplainParser(Parser):
    def error(self, message, ex=None):
        if unknown := re.search(r"unrecognized arguments: --([^\s=]+)", message):
            known = [*inspect.signature(keys.explain_keys).parameters, *known_keys()]
            raise SettingError(f"there is no key {unknown[1]!r}; {nearest(unknown[1], known)}")
        super().error(message.replace("are required: ", "are required: explain."))  # as a subcommand's keys are named


def main(arguments):
    """Run `torchbp explain ARGUMENTS…`. Returns the exit status: 0, 1 for unusable data, 2 for an argument."""
    silence_lightning()
    try:
        _run(settings_of(arguments))
    except UserError as error:
        complain(error)
        return error.status
    except BrokenPipeError:  # the command line's main ends quietly
        raise
    except OSError as error:
        complain(" ".join(str(error).split()))
        return 1
    return 0


def settings_of(arguments):
    """The settings: this command's keys, and all keys of training, so that it takes the config file of a run."""
    parser = ExplainParser(prog="torchbp explain", allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config", help="A file of keys in YAML.")
    parser.add_function_arguments(keys.explain_keys)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    add_settings(parser)
    words = configs_first(arguments)[1:]
    for i, word in enumerate(words):
        if word == "--saturate" and words[i + 1 : i + 2] not in (["true"], ["false"]):
            words[i] = "--saturate=true"
    return parser.parse_args(words)


def _run(settings):
    files = [
        (path, suffix) for path, suffix in ((settings.json, ".json"), (settings.html, ".html")) if path is not None
    ]
    for path, suffix in files:
        _check_file(path, suffix)
    if settings.weights not in (None, *WEIGHTS):
        raise SettingError(f"--weights {settings.weights} is not known; use {', '.join(WEIGHTS)}")
    model, source, target, reading = trained(settings) if settings.ckpt_path else _fresh(settings)
    model = model.double()
    _check_explained(model)
    rows = Rows(source, target, settings.row, settings.y, model, reading)
    with torch.no_grad():
        x, y = model.scaling(rows.x.double()), model.task.encode(rows.answers().double())
        check_finite(model.net(x), rows.places[0], rows.source)
    weights = (
        "Trained weights" if settings.ckpt_path else f"Random, untrained weights (seed {settings.seed_everything})"
    )
    title = f"{rows.title()}. Inputs {SCALED[model.hparams.scaling]}. {weights}"
    if model.hparams.optimizer != "sgd":
        title += f". The step is of plain gradient descent, and not of {model.hparams.optimizer}"
    try:
        if settings.weights:
            WEIGHTS[settings.weights](model.net, x, y)
            title += f", --weights {settings.weights}"
        if settings.saturate:
            saturate(model.net, x, y)
            title += ", --saturate"
        lr = settings.lr if settings.lr is not None else model.hparams.lr
        explanation = explain(
            model.net,
            x,
            y,
            lr,
            model.task.criterion,
            title,
            features=model.scaling.names(feature_names(rows.columns)),
            outputs=rows.outputs,
        )
        text = explanation.to_text(settings.layer)
    except (TypeError, ValueError) as error:
        raise SettingError(str(error)) from None
    _write([(path, explanation.to_json() if suffix == ".json" else explanation.to_html()) for path, suffix in files])
    if files and settings.layer is None:  # the files have the whole
        text = "\n".join([*heading(explanation), "", *closing(explanation)])
    print(text)
    for path, _ in files:
        say("wrote", path)
    sys.stdout.flush()


def _check_file(name, suffix):
    path = Path(name)
    if path.suffix != suffix or path.is_dir():
        raise SettingError(f"--{suffix[1:]} {name} must be a file that ends in {suffix}")
    if not path.parent.is_dir():
        raise SettingError(f"there is no folder {path.parent} to write {path.name} to")


def _write(contents):
    """Write all of the files, or none of them."""
    with contextlib.ExitStack() as stack:
        for path, content in contents:
            try:
                stack.enter_context(atomic_write(path)).write_text(content, encoding="utf-8")
            except OSError as error:  # its own message names the temporary file
                raise UserError(f"{path} cannot be written: {error.strerror}") from None


def trained(settings):
    """The model of the checkpoint, whose settings must be those of the command; the source of the rows; the target; and
    how a text file is written."""
    path = find_checkpoint(settings.ckpt_path)
    checkpoint = read_checkpoint(path)
    _check_single(checkpoint["hyper_parameters"], f"{path} holds", "train a single network, with")
    model = load_model(checkpoint, path)
    if is_pack(checkpoint):
        if settings.member is None:
            raise SettingError(f"{path} holds a pack, and explain shows one network: add --member {explained(model)}")
        model = model.member(settings.member)
    elif settings.member is not None:
        raise SettingError(f"--member {settings.member} is of a pack, and {path} holds one network; leave it out")
    source = settings_of_rows(settings, model, checkpoint, path)["source"]
    target = settings.data.target or checkpoint.get("datamodule_hyper_parameters", {}).get("target")
    return model, source, target, saved_reading(checkpoint, settings.data.as_dict())


def _fresh(settings):
    """A model with the random first weights that `fit` would start from; the source of the rows; the target; and how a
    text file is written."""
    if settings.data.source is None:
        raise SettingError("data.source is missing; set it in the file of -c, or as --data.source")
    _check_single(settings.model, "the settings are of", "add")
    if not 0 <= settings.seed_everything < 2**32:
        raise SettingError(f"seed_everything={settings.seed_everything} must lie between 0 and 2³² − 1")
    data = TabularData(**settings.data.as_dict())
    torch.manual_seed(settings.seed_everything)
    model = Network(**{name: getattr(data, name) for name in LINKED}, **settings.model.as_dict())
    model.trainer = Trainer(accelerator="cpu", **TRAINER_DEFAULTS | {"logger": False, "enable_checkpointing": False})
    model.trainer.datamodule = data
    model.setup("fit")  # fits the scaling to the training rows
    model.trainer = None
    return model.eval(), settings.data.source, settings.data.target, data.settings.reading


def _check_explained(model):
    """Refuse a network with steps that `explain` has no words for."""
    h = model.hparams
    for name, value, without in (
        ("data.task", h.task, ("binary", "multilabel")),
        ("model.dropout", h.dropout, (0.0,)),
        ("model.norm", h.norm, (None,)),
    ):
        if value not in without:
            shown = " and ".join(map(str, without))
            raise SettingError(f"explain has no words for {name}={value} yet; it shows {shown}")


def explained(pack):
    """The number of a member that `explain` can show: the first that has no periodic embedding."""
    plain = [one["number"] * len(pack.fold_sizes) for one in pack.chosen if not one.get("frequency")]
    return (plain or pack.numbers)[0]


def _check_single(settings, what, remedy):
    """Refuse an ensemble or a sweep."""
    members, lr = settings.get("members"), settings.get("lr")
    if members is None and not isinstance(lr, list):
        return
    kind, lr = ("a sweep of learning rates", lr[:1]) if isinstance(lr, list) else ("an ensemble", [lr])
    rate = "".join(f" --model.lr {rate:g}" for rate in lr if isinstance(rate, int | float))  # a file may hold anything
    raise SettingError(f"{what} {kind}, and explain shows one network: {remedy} --model.members null{rate}")
