"""`torchbp bench`: which benchmark, on which machine, in a table and in a JSON file."""

import argparse
import itertools
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
    if options.json and options.json.exists():
        print(f"torchbp: error: {options.json} exists; name another file", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    benchmark = BENCHMARKS[options.benchmark]
    report = {"machine": machine(), "benchmark": options.benchmark, "results": []}
    console.print(report["machine"])
    for threads in options.threads:
        torch.set_num_threads(threads)
        records = benchmark.measure(options.seconds, options.compile)
        for (network, rows), of_network in itertools.groupby(records, lambda r: (r["network"], r["rows"])):
            title = f"{network}, {rows} row{'s' * (rows > 1)} a batch, {threads} thread{'s' * (threads > 1)}"
            table = Table("variant", title=title, title_justify="left", title_style="bold")
            for heading, _ in benchmark.COLUMNS.values():
                table.add_column(heading, justify="right")
            for record in of_network:
                report["results"].append({"threads": threads, **record})
                cells = (form.format(record[key]) for key, (_, form) in benchmark.COLUMNS.items())
                table.add_row(record["variant"], *cells)
            console.print(table)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def parser():
    parser = argparse.ArgumentParser(prog="torchbp bench", description="Time torchbp beside its peers, in one process.")
    parser.add_argument("benchmark", choices=BENCHMARKS, help="what to time")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of torch, one run each (default: 1 2)")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each network and measurement (default: 4)")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    return parser


def machine():
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}"
