"""`torchbp export`: a trained network as a file that other programs read."""

from pathlib import Path

from torchbp import __version__
from torchbp.cli.parser import Parser
from torchbp.printing import complain, say
from torchbp.training.atomic_write import atomic_write
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.errors import SettingError, UserError
from torchbp.training.export.answering import description
from torchbp.training.export.formats import FORMATS
from torchbp.training.model.loading import load_model

WHAT = (
    "Write a trained network to a file that other programs read: raw features in, nan for a missing value, and "
    "probabilities or numbers out. Its scaling is inside; the names of the features, with their categories, and of the "
    "answers are in the file's metadata, as JSON."
)


def main(arguments: list[str]) -> int:
    """Run `torchbp export ARGUMENTS…`. Returns the exit status."""
    parser = Parser(prog="torchbp export", description=WHAT)
    parser.add_argument("run", metavar="RUN", help="the folder of a run, or a checkpoint")
    parser.add_argument("--format", choices=list(FORMATS), default="onnx", help="what to write")
    parser.add_argument("--output", metavar="FILE", help="the file; by default it is model and the format's suffix")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    settings = parser.parse_args(arguments[1:])
    try:
        _run(settings)
    except UserError as error:
        complain(error)
        return error.status
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error)
        return 1
    return 0


def _run(settings):
    write, suffix = FORMATS[settings.format]
    output = Path(settings.output or f"model{suffix}")
    _check_output(output, suffix, settings.overwrite)
    path = find_checkpoint(settings.run)
    network = load_model(read_checkpoint(path), path)
    with atomic_write(output) as temporary:
        write(network, said := description(network, __version__), temporary)
    say("wrote", output)
    if said["columns"] and list(said["columns"]) != said["features"]:
        say(
            "note",
            f"its input is {len(said['features'])} features, made of {len(said['columns'])} columns: a category is a "
            "feature for each of its values. The metadata torchbp names them in their order",
        )


def _check_output(path, suffix, overwrite):
    if path.suffix.lower() != suffix:
        raise SettingError(f"--output {path} must end in {suffix}")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
        raise SettingError(f"--output {path} {what}")
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; name another --output, or add --overwrite")
