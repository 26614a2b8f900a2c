"""`torchbp bench`: which benchmark, on which machine, in a table and in a JSON file."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from torchbp.benchmarks import layers

BENCHMARKS = {"layers": layers}


def main(arguments):
    """Run `torchbp bench ARGUMENTS…`. Returns the exit status."""
    options = parser().parse_args(arguments[1:])
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    benchmark = BENCHMARKS[options.benchmark]
    report = {"machine": machine(), "benchmark": options.benchmark, "results": []}
    console.print(report["machine"])
    for record in benchmark.measure(options.threads, options.seconds, options.compile):
        report["results"].append(record)
        if sys.stderr.isatty():
            print(f"\r\033[K{record['network']}, {record['variant']} …", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    for threads in options.threads:
        tables(console, benchmark, threads, [r for r in report["results"] if r["threads"] == threads])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def tables(console, benchmark, threads, records):
    """A table of each network, and one figure of them all at the end."""
    networks = {}
    for record in records:
        networks.setdefault(record["network"], []).append(record)
    of_threads = f"{threads} thread{'s' * (threads > 1)}"
    for network, variants in networks.items():
        table = Table("variant", title=f"{network}, {of_threads}", title_justify="left")
        for heading, _ in benchmark.COLUMNS.values():
            table.add_column(heading, justify="right")
        for record in variants:
            cells = (form.format(record[key]) for key, (_, form) in benchmark.COLUMNS.items())
            table.add_row(record["variant"], *cells)
        console.print(table)
    what, key = benchmark.SUMMARY
    summary = Table("network × rows", title=f"{what}, {of_threads}", title_justify="left")
    for record in next(iter(networks.values())):
        summary.add_column(record["variant"], justify="right")
    for network, variants in networks.items():
        summary.add_row(network, *(f"{record[key]:.2f}" for record in variants))
    console.print(summary)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"torchbp: error: {message}\n")


def parser():
    parser = Parser(prog="torchbp bench", description="Time torchbp beside its peers, in one process.")
    parser.add_argument("benchmark", choices=BENCHMARKS, help="what to time")
    parser.add_argument(
        "--threads", type=positive(int), nargs="+", default=[1, 2], help="of torch, one run each (default: 1 2)"
    )
    parser.add_argument(
        "--seconds", type=positive(float), default=4.0, help="for each network and measurement (default: 4)"
    )
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--json", type=new_file, help="write the results to this file too")
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
