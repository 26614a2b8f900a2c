"""`torchbp explain`: one step of a network on rows of data, in the terminal and in files."""

import contextlib
import functools
import inspect
import re
import sys

import torch
from pytorch_lightning import Trainer

from torchbp.cli import keys
from torchbp.cli.keys import LINKED, TRAINER_DEFAULTS
from torchbp.explanation.arguments.settings import rate
from torchbp.explanation.cli.data_rows import Rows
from torchbp.explanation.cli.descent import DESCENTS, notes, optimizer_of
from torchbp.explanation.cli.files import contents, files_of, write
from torchbp.explanation.cli.lessons import lesson, refuse_beside_lesson
from torchbp.explanation.cli.members import ensemble_of, shown_member
from torchbp.explanation.cli.what_if import WEIGHTS, saturate
from torchbp.explanation.explanation import explain
from torchbp.explanation.render.steps_text import table
from torchbp.explanation.render.text import closing, heading
from torchbp.printing import complain, say
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.cli.argument_errors import Parser, known_keys, nearest
from torchbp.training.cli.arguments import configs_first
from torchbp.training.cli.finite_answers import check_finite
from torchbp.training.cli.lightning_quiet import silence_lightning
from torchbp.training.cli.trained_settings import add_settings, settings_of_rows
from torchbp.training.data.columns import feature_names
from torchbp.training.data.tabular import TabularData
from torchbp.training.data.trained import saved_reading
from torchbp.training.errors import SettingError, UserError
from torchbp.training.model.loading import load_model
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
    """The settings that the arguments say."""
    words = configs_first(arguments)[1:]
    if any(re.match(r"--lesson\b", word) for word in words):
        refuse_beside_lesson(words)
    if not any(re.match(r"(-c|--config|--ckpt_path|--data)\b", word) for word in words):
        words = [*FIRST, *words]
    return _parser().parse_args(words)


@functools.cache
def _parser():
    """This command's keys, and all keys of training, so that it takes the config file of a run."""
    parser = ExplainParser(prog="torchbp explain", allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config", help="A file of keys in YAML.")
    parser.add_function_arguments(keys.explain_keys)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    add_settings(parser)
    return parser


def _run(settings):
    files = files_of(settings)
    explanation = _explanation(settings) if settings.lesson is None else lesson(settings)
    with _refusals():
        text = _text(explanation, settings)
        found = contents(explanation, files, **{"most": None} if settings.json_all else {})
    write(found)
    if files and settings.layer is None and settings.follow is None:  # the files have the whole
        of_all = [*table(explanation), ""] if settings.steps > 1 else []
        text = "\n".join([*heading(explanation), "", *of_all, *closing(explanation)])
    print(text)
    for path in files.values():
        say("wrote", path)
    sys.stdout.flush()


def _text(explanation, settings):
    """The whole, one layer, or the ways to one number."""
    if settings.follow is None:
        return explanation.to_text(settings.layer)
    if settings.layer is not None:
        raise SettingError("--follow and --layer are both given; leave one out")
    return "\n".join([*heading(explanation), "", explanation.follow(settings.follow)])


@contextlib.contextmanager
def _refusals():
    """What `explain` refuses is an error of a setting."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise SettingError(str(error)) from None


def _explanation(settings):
    """The explanation of rows of data, in a trained network or a fresh one."""
    if settings.weights not in (None, *WEIGHTS):
        raise SettingError(f"--weights {settings.weights} is not known; use {', '.join(WEIGHTS)}")
    if settings.descent not in DESCENTS:
        raise SettingError(f"--descent {settings.descent} is not known; use {' or '.join(DESCENTS)}")
    found = trained(settings) if settings.ckpt_path else _fresh(settings)
    model, source, target, reading, states = found
    whole = model.double()
    if (number := shown_member(whole, settings)) is not None:
        model, states = whole.member(number), []  # the optimizer's are of all members
    net = model.net
    rows = Rows(source, target, settings.row, settings.y, model, reading)
    with torch.no_grad():
        x, y = model.scaling(rows.x.double()), model.task.encode(rows.answers())
        check_finite(net(x), rows.places[0], rows.source)
    weights = (
        "Trained weights" if settings.ckpt_path else f"Random, untrained weights (seed {settings.seed_everything})"
    )
    title = rows.title() + (f", member {number}{f' of {whole.members}' if whole.members else ''}" if number else "")
    title = f"{title}. Inputs {SCALED[model.hparams.scaling]}. {weights}"
    with _refusals():
        lr = rate(model.hparams.lr if settings.lr is None else settings.lr, torch.float64)
    optimizer = None
    if settings.descent == "trained":
        lr, optimizer = None, optimizer_of(model, net, lr, states)
    title += notes(model, settings, optimizer)
    with _refusals():
        if settings.weights:
            WEIGHTS[settings.weights](net, x, y)
            title += f", --weights {settings.weights}"
        if settings.saturate:
            if not model.task.has_classes:
                raise SettingError("--saturate makes a network sure of a wrong class, and this one predicts numbers")
            saturate(net, x, y)
            title += ", --saturate"
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
            unscaled=None if model.hparams.scaling == "none" or rows.x.shape != x.shape else rows.x,
            optimizer=optimizer,
            steps=settings.steps,
        )
    if number is not None and settings.member is None:
        explanation.ensemble = ensemble_of(whole, rows.x.double(), rows.answers(), rows.outputs, number)
    return explanation


def trained(settings):
    """The model of the checkpoint, whose settings must be those of the command; the source of the rows; the target;
    how a text file is written; and what the optimizer remembers."""
    path = find_checkpoint(settings.ckpt_path)
    checkpoint = read_checkpoint(path)
    model = load_model(checkpoint, path)
    source = settings_of_rows(settings, model, checkpoint, path)["source"]
    target = settings.data.target or checkpoint.get("datamodule_hyper_parameters", {}).get("target")
    states = checkpoint.get("optimizer_states", [])
    return model, source, target, saved_reading(checkpoint, settings.data.as_dict()), states


def _fresh(settings):
    """A model with the random first weights that `fit` would start from; the source of the rows; the target; how a text
    file is written; and that no optimizer remembers anything."""
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
    return model.eval(), settings.data.source, settings.data.target, data.settings.reading, []
