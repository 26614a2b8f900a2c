"""The arguments of `torchbp bench`: a parser for each benchmark, and what a word of the command becomes."""

import argparse
from pathlib import Path

import torch

from torchbp._imports import extra_needed
from torchbp.cli.parser import Parser

# benchmark: what it measures, and for how many seconds each; its module is imported when it is called
BENCHMARKS = {
    "layers": ("Forward and backward of whole networks, beside torch.nn.", 4.0),
    "step": ("Forward, backward and update by SGD and AdamW, beside torch.nn, numpy and JAX.", 4.0),
    "fit": ("Whole trainings on rows in memory, beside loops of torch.nn, scikit-learn and JAX.", 20.0),
    "ensemble": ("A step of many networks at once, beside a loop over them; growth with size.", 4.0),
    "training": ("A step of training in whole runs, beside plain Lightning and scikit-learn; a large table.", 20.0),
    "memory": ("The most memory that a step takes, beside what it cannot do without.", None),
    "models": ("A step of whole networks, converted, beside torch.nn: time and memory.", 8.0),
}
ACCURACY = "The worst error of each operation, forward and backward, in ulp, beside torch's."
TABLES = "Our estimators' defaults on real tables, beside those of other libraries: scores and processor time."
COMPILED = ("layers", "step", "fit", "ensemble", "all")
ON_CPU = ("fit",)
ALL = "All of these timings, each in a process of its own."
THREADS = {"cpu": [1, 2], "cuda": [1]}  # on a GPU they only start its kernels


def make_parser():
    parser = Parser(prog="torchbp bench", description="Time torchbp beside its peers.")
    benchmarks = parser.add_subparsers(dest="benchmark")
    for name, (what, seconds) in {**BENCHMARKS, "all": (ALL, "each benchmark's own")}.items():
        benchmark = benchmarks.add_parser(name, help=what, description=what)
        if seconds:
            benchmark.add_argument(
                "--threads", type=_positive(int), nargs="+", help="one run each (default: 1 2; on a GPU 1)"
            )
            benchmark.add_argument(
                "--seconds",
                type=_positive(float),
                default=None if name == "all" else seconds,
                help="for each network and measurement",
            )
        if name in COMPILED:
            benchmark.add_argument(
                "--no-compile", dest="with_compile", action="store_false", help="leave out what torch.compile compiles"
            )
        if name not in ON_CPU:
            benchmark.add_argument("--device", type=device, default="cpu", help="cpu or cuda")
        benchmark.add_argument("--json", metavar="FILE", type=_new_file, help="write the results to this file too")
        each = ", one for each benchmark: FILE-layers.png, …" if name == "all" else ""
        benchmark.add_argument(
            "--plot", metavar="FILE.png", type=_new_pictures if each else _new_picture, help=f"draw a picture{each}"
        )
    accuracy = benchmarks.add_parser("accuracy", help=ACCURACY, description=ACCURACY)
    accuracy.add_argument("--only", nargs="*", default=None, metavar="OPERATION", help="of these alone; of none")
    accuracy.add_argument("--book", metavar="FILE", type=Path, help="write the tables of the formula book there, too")
    accuracy.add_argument("--json", metavar="FILE", type=_new_file, help="write the results to this file too")
    tables = benchmarks.add_parser("tables", help=TABLES, description=TABLES)
    tables.add_argument(
        "folder", metavar="FOLDER", type=_folder_of_tables, nargs="?", help="of the tables; else scikit-learn's"
    )
    tables.add_argument("--seeds", type=_positive(int), default=5, help="splits of each table (default: 5)")
    tables.add_argument("--rows", type=_positive(int), default=5000, help="of a table at most (default: 5000)")
    tables.add_argument("--pack", action="store_true", help="our packs, too, which take three times as long")
    tables.add_argument(
        "--peers", action="store_true", help="LightGBM, CatBoost, RealMLP-TD and TabM, too, where they are installed"
    )
    tables.add_argument("--ablation", action="store_true", help="our pack alone, each time with one part changed")
    tables.add_argument(
        "--models", type=_model, nargs="+", default=None, metavar="MODEL", help="these alone, such as CatBoost TabM"
    )
    tables.add_argument(
        "--records", metavar="FILE", type=_table_records, help="append each result; what is there is not measured again"
    )
    tables.add_argument("--only", type=_table, nargs="+", default=None, metavar="TABLE", help="these alone")
    tables.add_argument("--json", metavar="FILE", type=_new_file, help="write the results to this file too")
    return parser


def device(text):
    if text not in THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device to measure on; use cpu or cuda")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("torch finds no GPU here; use cpu")
    return text


def _positive(number):
    def convert(text):
        if not 0 < number(text) < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} must be a positive number")
        return number(text)

    convert.__name__ = number.__name__
    return convert


def _folder_of_tables(text):
    with extra_needed("bench", "torchbp bench tables"):
        from torchbp.benchmarks.helpers.real_tables import table_files
    try:
        table_files(Path(text))
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def _table(text):
    with extra_needed("bench", "torchbp bench tables"):
        from torchbp.benchmarks.helpers.real_tables import OF_SKLEARN, TARGETS
    return _one_of([*TARGETS, *OF_SKLEARN], text)


def _model(text):
    with extra_needed("bench", "torchbp bench tables"):
        from torchbp.benchmarks.helpers.real_tables.table_models import names_of_all
    return _one_of(names_of_all(), text)


def _one_of(names, text):
    if text not in names:
        raise argparse.ArgumentTypeError(f"{text} is not one of {', '.join(names)}")
    return text


def _table_records(text):
    with extra_needed("bench", "torchbp bench tables"):
        from torchbp.benchmarks.helpers.real_tables.table_records import TableRecords
    path = Path(text)
    try:
        records = TableRecords(path)
        path.touch()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror}") from None
    return records


def _new_file(text):
    """The path of a file that can be written, and is not there."""
    path = Path(text)
    try:
        if path.exists():
            raise argparse.ArgumentTypeError(f"{path} exists; name another file")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
        path.touch(exist_ok=False)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror}") from None
    path.unlink()
    return path


def _new_picture(text):
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text} is no picture's name; call it {text}.png")
    return _new_file(text)


def _new_pictures(text):
    path = _new_picture(text)
    for name in BENCHMARKS:
        _new_file(picture_of(path, name))
    return path


def picture_of(path, name):
    return path.with_stem(f"{path.stem}-{name}")
