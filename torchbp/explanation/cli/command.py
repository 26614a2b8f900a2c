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
from torchbp.explanation.arguments import member_of
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


FIRST = ["--data.source", "xor", "--model.hidden", "[4]"]  # without data: the smallest network that needs its layers
FIRST += [
    "--model.optimizer",
    "sgd",
    "--model.lr",
    "1.0",
    "--model.scaling",
    "standard",
    "--model.activation",
    "sigmoid",
]


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
    if not any(re.match(r"(-c|--config|--ckpt_path|--data\.)", word) for word in words):
        words = [*FIRST, *words]
    for i, word in enumerate(words):
        if word in ("--saturate", "--json_all") and words[i + 1 : i + 2] not in (["true"], ["false"]):
            words[i] = f"{word}=true"
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
    net = _network(model, settings.member)
    rows = Rows(source, target, settings.row, settings.y, model, reading)
    with torch.no_grad():
        x, y = model.scaling(rows.x.double()), model.task.encode(rows.answers())
        check_finite(net(x), rows.places[0], rows.source)
    weights = (
        "Trained weights" if settings.ckpt_path else f"Random, untrained weights (seed {settings.seed_everything})"
    )
    title = rows.title() + (f", member {settings.member} of {model.members}" if model.members else "")
    title = f"{title}. Inputs {SCALED[model.hparams.scaling]}. {weights}"
    title += _notes(model, settings)
    try:
        if settings.weights:
            WEIGHTS[settings.weights](net, x, y)
            title += f", --weights {settings.weights}"
        if settings.saturate:
            if not model.task.has_classes:
                raise SettingError("--saturate makes a network sure of a wrong class, and this one predicts numbers")
            saturate(net, x, y)
            title += ", --saturate"
        lr = settings.lr if settings.lr is not None else _lr_of(model, settings.member)
        torch.manual_seed(settings.seed_everything)
        explanation = explain(
            net.train(),
            x,
            y,
            lr,
            model.task.criterion,
            title,
            features=model.scaling.names(feature_names(rows.columns)),
            outputs=rows.outputs,
            unscaled=None if model.hparams.scaling == "none" else rows.x,
            steps=settings.steps,
        )
        text = explanation.to_text(settings.layer)
    except (TypeError, ValueError) as error:
        raise SettingError(str(error)) from None
    most = {"most": None} if settings.json_all else {}
    _write(
        [(path, explanation.to_json(**most) if suffix == ".json" else explanation.to_html()) for path, suffix in files]
    )
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
    model = load_model(checkpoint, path)
    if is_pack(checkpoint):
        if settings.member is None:
            raise SettingError(
                f"{path} holds a pack, and explain shows one network: add --member {_plain_member(model)}"
            )
        model = model.member(settings.member)
    elif settings.member is not None and not model.members:
        raise SettingError(f"--member {settings.member} is of many networks, and {path} holds one; leave it out")
    source = settings_of_rows(settings, model, checkpoint, path)["source"]
    target = settings.data.target or checkpoint.get("datamodule_hyper_parameters", {}).get("target")
    return model, source, target, saved_reading(checkpoint, settings.data.as_dict())


def _plain_member(pack):
    """The number of a member of a pack that `explain` has words for, if there is one: without an embedding."""
    plain = [number for number in pack.numbers if not pack.configuration_of(number).get("frequency")]
    return (plain or pack.numbers)[0]


def _fresh(settings):
    """A model with the random first weights that `fit` would start from; the source of the rows; the target; and how a
    text file is written."""
    if settings.data.source is None:
        raise SettingError("data.source is missing; set it in the file of -c, or as --data.source")
    if not 0 <= settings.seed_everything < 2**32:
        raise SettingError(f"seed_everything={settings.seed_everything} must lie between 0 and 2³² − 1")
    data = TabularData(**settings.data.as_dict())
    torch.manual_seed(settings.seed_everything)
    model = Network(**{name: getattr(data, name) for name in LINKED}, **settings.model.as_dict())
    model.trainer = Trainer(accelerator="cpu", **TRAINER_DEFAULTS | {"logger": False, "enable_checkpointing": False})
    model.trainer.datamodule = data
    model.setup("fit")  # fits the scaling to the training rows
    model.trainer = None
    if settings.member is not None and not model.members:
        raise SettingError(f"--member {settings.member} is of many networks, and the settings are of one; leave it out")
    return model.eval(), settings.data.source, settings.data.target, data.settings.reading


def _notes(model, settings):
    """What the step does otherwise than the training does, and what y is where it is scaled."""
    h, notes = model.hparams, ""
    if h.optimizer != "sgd":
        notes += f". The step is of plain gradient descent, and not of {h.optimizer}"
    if h.task == "multiclass" and h.class_weight is not None:
        notes += ". The loss is without the weights of the classes"
    if h.task == "regression":
        notes += ". y is scaled: (y − mean)/deviation of the training rows"
    if h.dropout:
        notes += f". Dropout's mask is drawn with seed {settings.seed_everything}"
    return notes


def _lr_of(model, member):
    """The learning rate of the training; of a sweep that of the member's group."""
    lr = model.hparams.lr
    return lr[(member - 1) * len(lr) // model.members] if isinstance(lr, list) else lr


def _network(model, member):
    """The network; of an ensemble the member with this number."""
    count = model.members
    if count and member is None:
        raise SettingError(
            f"the network is an ensemble of {count}, and explain shows one: add --member N, 1 to {count}"
        )
    if not count:
        return model.net
    if member not in range(1, count + 1):
        raise SettingError(f"--member {member}: the ensemble has the members 1 to {count}")
    return member_of(model.net, member)
