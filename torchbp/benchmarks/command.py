"""`torchbp bench`: which benchmark, on which machine, in a table and in a JSON file."""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

# benchmark: what it times, and for how many seconds each; its module is imported when it is called
BENCHMARKS = {
    "layers": ("Forward and backward of whole networks, beside torch.nn.", 4.0),
    "step": ("Forward, backward and update, beside torch.nn with torch.optim.SGD, and numpy.", 4.0),
    "training": ("A step of training in whole runs, beside plain Lightning and scikit-learn; a large table.", 20.0),
}


def main(arguments):
    """Run `torchbp bench ARGUMENTS…`. Returns the exit status."""
    command = parser()
    settings = vars(command.parse_args(arguments[1:]))
    if not settings["benchmark"]:
        command.error(f"name a benchmark: {', '.join(BENCHMARKS)}")
    name, file = settings.pop("benchmark"), settings.pop("json")
    benchmark = importlib.import_module(f"torchbp.benchmarks.{name}")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    report = {"machine": machine(), "benchmark": name, "results": []}
    console.print(report["machine"])
    for record in benchmark.measure(**settings):
        report["results"].append(record)
        if sys.stderr.isatty():
            print(f"\r\033[K{record['network']}, {record['variant']} …", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    for threads in settings["threads"]:
        tables(console, benchmark, threads, [r for r in report["results"] if r["threads"] == threads])
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def tables(console, benchmark, threads, records):
    """A table of each network, with the columns that it has, and at the end one figure of all that have one peer."""
    networks = {}
    for record in records:
        networks.setdefault(record["network"], []).append(record)
    of_threads = f"{threads} thread{'s' * (threads > 1)}"
    for network, variants in networks.items():
        table = Table("variant", title=f"{network}, {of_threads}", title_justify="left")
        columns = {key: of for key, of in benchmark.COLUMNS.items() if any(key in record for record in variants)}
        for heading, _ in columns.values():
            table.add_column(heading, justify="right")
        for record in variants:
            cells = (form.format(record[key]) if key in record else "" for key, (_, form) in columns.items())
            table.add_row(record["variant"], *cells)
        console.print(table)
    what, key = benchmark.SUMMARY
    summary = Table("network × rows", title=f"{what}, {of_threads}", title_justify="left")
    names = [record["variant"] for record in next(iter(networks.values()))]
    for name in names:
        summary.add_column(name, justify="right")
    for network, variants in networks.items():
        if [record["variant"] for record in variants] == names:
            summary.add_row(network, *(f"{record[key]:.2f}" for record in variants))
    console.print(summary)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"torchbp: error: {message}\n")


def parser():
    parser = Parser(prog="torchbp bench", description="Time torchbp beside its peers, in one process.")
    benchmarks = parser.add_subparsers(dest="benchmark")
    for name, (what, seconds) in BENCHMARKS.items():
        benchmark = benchmarks.add_parser(name, help=what, description=what)
        benchmark.add_argument(
            "--threads", type=positive(int), nargs="+", default=[1, 2], help="of torch, one run each (default: 1 2)"
        )
        benchmark.add_argument(
            "--seconds",
            type=positive(float),
            default=seconds,
            help=f"for each network and measurement (default: {seconds:g})",
        )
        benchmark.add_argument("--json", type=new_file, help="write the results to this file too")
    for name in ("layers", "step"):
        benchmarks.choices[name].add_argument(
            "--no-compile", dest="with_compile", action="store_false", help="leave torch.compile out"
        )
    return parser


def positive(number):
    def convert(text):
        if not 0 < number(text) < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} must be a positive number")
        return number(text)

    convert.__name__ = number.__name__
    return convert


def new_file(text):
    path = Path(text)
    if path.exists():
        raise argparse.ArgumentTypeError(f"{path} exists; name another file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def machine():
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}"
