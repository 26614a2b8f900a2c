"""The results of a benchmark as tables on the terminal."""

import math

from rich.table import Table


def show(console, benchmark, records):
    """The tables of each number of threads and task, with their summary, and of what grows, each under its title."""
    for threads, task in dict.fromkeys((record.get("threads"), record.get("task")) for record in records):
        title = f", {task}" * bool(task)
        of_threads = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
        mine = [record for record in records if (record.get("threads"), record.get("task")) == (threads, task)]
        networks = grouped(mine, "network")
        for name, variants in networks.items():
            grows = "growth" in variants[0]
            console.print(f"{name}{title}{', µs a step' * grows}{of_threads}", soft_wrap=True)
            console.print(growth(variants) if grows else network(benchmark, variants))
        what, key = summary_of(benchmark, task)
        console.print(f"{what}{of_threads}", soft_wrap=True)
        console.print(summary(_compared(benchmark, networks), key))


def summary_of(benchmark, task):
    """What the summary of a task shows, a line and the key of its figures."""
    return benchmark.SUMMARIES[task] if task else benchmark.SUMMARY


def grouped(records, key):
    groups = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    return groups


def network(benchmark, variants):
    """Its variants, with those of the benchmark's columns that one of them has."""
    columns = {key: of for key, of in benchmark.COLUMNS.items() if any(key in record for record in variants)}
    table = _headed("variant", *(heading for heading, _ in columns.values()))
    for record in variants:
        cells = (figure(record[key], form) if key in record else "" for key, (_, form) in columns.items())
        table.add_row(record["variant"], *cells)
    return table


def growth(records):
    """A row for each value of what grows; the last row is k in time ~ valueᵏ, between the two largest values."""
    times = {value: by_variant(row, "us") for value, row in grouped(records, "value").items()}
    names = list(dict.fromkeys(record["variant"] for record in records))
    table = _headed(records[0]["growth"], *names)
    for value, row in times.items():
        table.add_row(str(value), *(figure(row[name], "{:.1f}") if name in row else "" for name in names))
    *_, before, last = times
    exponents = (math.log(times[last][name] / times[before][name]) / math.log(last / before) for name in names)
    table.add_section()
    table.add_row("exponent", *(f"{exponent:.2f}" for exponent in exponents))
    return table


def _compared(benchmark, networks):
    """The networks whose variants stand beside the benchmark's peer; all, if it has none."""
    peer = getattr(benchmark, "PEER", None)
    return {
        name: variants
        for name, variants in networks.items()
        if "growth" not in variants[0] and peer in (None, variants[0]["variant"])
    }


def summary(networks, key):
    """One figure of each variant and network."""
    columns = {name: by_variant(variants, key) for name, variants in networks.items()}
    table = _headed("variant", *columns)
    for variant in dict.fromkeys(variant for found in columns.values() for variant in found):
        table.add_row(variant, *(figure(of[variant], "{:.2f}") if variant in of else "" for of in columns.values()))
    return table


def by_variant(records, key):
    return {record["variant"]: record[key] for record in records}


def figure(value, form):
    """In two digits where the form would show fewer."""
    return form.format(value) if value >= 0.1 else f"{value:.2g}"


def _headed(first, *others):
    table = Table()
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right", overflow="fold")
    return table
