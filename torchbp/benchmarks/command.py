"""`torchbp bench`: which benchmark, on which machine, in tables, in a JSON file and in a picture."""

import importlib
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console

from torchbp._imports import extra_needed
from torchbp.benchmarks.arguments import BENCHMARKS, COMPILED, ON_CPU, THREADS, make_parser, picture_of
from torchbp.benchmarks.helpers import tables
from torchbp.benchmarks.helpers.inductor import cannot_compile
from torchbp.benchmarks.helpers.machine import machine
from torchbp.printing import complain


def main(arguments):
    """Run `torchbp bench ARGUMENTS…`. Returns the exit status."""
    command = make_parser()
    settings = vars(command.parse_args(arguments[1:]))
    if not settings["benchmark"]:
        command.error(f"name a benchmark: {', '.join([*BENCHMARKS, 'all', 'accuracy', 'tables'])}")
    name, file, picture, book = (settings.pop(key, None) for key in ("benchmark", "json", "plot", "book"))
    if "threads" in settings:
        settings["threads"] = settings["threads"] or THREADS[settings.get("device", "cpu")]
    if settings.get("with_compile") and (why := cannot_compile()):
        complain(f"{why}, or add --no-compile")
        return 1
    if name == "all":
        return _run_all(file, picture, **settings)
    with extra_needed("bench", f"torchbp bench {name}"):
        benchmark = importlib.import_module(f"torchbp.benchmarks.commands.{name}")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    report = {"machine": machine(settings.get("device", "cpu")), "benchmark": name, "results": [], "notes": []}
    console.print(report["machine"], soft_wrap=True)
    for record in benchmark.measure(**settings):
        if "note" in record:
            report["notes"].append(record["note"])
            continue
        report["results"].append(record)
        progress(
            ", ".join(record[key] for key in ("task", "network", "variant", "operation", "dtype") if key in record)
            + " …"
        )
    progress("")
    getattr(benchmark, "show", partial(tables.show, benchmark=benchmark))(console, records=report["results"])
    report["notes"] = list(dict.fromkeys(report["notes"]))
    for note in report["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    if book:
        benchmark.write(book, report["results"])
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")
    if picture:
        importlib.import_module("torchbp.benchmarks.helpers.charts").draw(picture, benchmark, report)
    return 0


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _run_all(file, picture, threads, seconds, with_compile, device):
    """Each benchmark by a command of its own: what one compiles would make the next one's eager modules slower.

    Returns 0, or the exit status of one that failed; the others run all the same.
    """
    status, reports = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, default) in BENCHMARKS.items():
            if name in ON_CPU and device != "cpu":
                continue
            written = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "torchbp", "bench", name, "--json", str(written)]
            if name not in ON_CPU:
                command += ["--device", device]
            if picture:
                command += ["--plot", str(picture_of(picture, name))]
            if default:
                command += ["--threads", *map(str, threads), "--seconds", str(seconds or default)]
            if name in COMPILED and not with_compile:
                command.append("--no-compile")
            sys.stdout.flush()
            status = subprocess.run(command).returncode or status
            if written.exists():
                reports.append(json.loads(written.read_text()))
    if file:
        file.write_text(json.dumps({"benchmark": "all", "reports": reports}, indent=1) + "\n")
    return status
