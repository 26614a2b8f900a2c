"""`torchbp bench tables FOLDER`: our estimators' defaults on real tables, beside scikit-learn's and other libraries'.

Each model gets the same numbers of the same training rows. Its seconds are those of the processor, of its threads and
of the processes that it starts, to fit and to answer the test rows.
"""

import itertools
import logging
import math
import operator
import resource
import statistics
import time
import warnings

import numpy as np
import torch
from rich.table import Table
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.helpers.real_tables import CLASSES, NUMBER, OF_SKLEARN, read_table, split, table_files
from torchbp.benchmarks.helpers.table_models import ABLATION, MODELS, PACK, PEER, library_models
from torchbp.benchmarks.helpers.table_records import TableRecords, key_of

COLUMNS = {
    "loss_ratio": ("loss ratio", "{:.3f}"),
    "ratio_error": ("±", "{:.3f}"),
    "normalised": ("normalised loss", "{:.3f}"),
    "error": ("±", "{:.3f}"),
    "rank": ("mean rank", "{:.2f}"),
    CLASSES: ("accuracy", "{:.3f}"),
    NUMBER: ("R²", "{:.3f}"),
    "s": ("seconds", "{:.1f}"),
    "ratio": ("ratio", "{:.2f}"),
    "median_ratio": ("median ratio", "{:.2f}"),
}
LEGEND = (
    "all tables: the loss ratio is the geometric mean, over the tables, of the loss divided by that of {peer}; ± is "
    "its standard error, from the tables. The normalised loss is 1 for the best model of a table, and 0 for who knows "
    "only the shares of the classes or the mean; ± is the standard error of its mean over the tables, from the seeds"
)
ACROSS = 4  # models in a table
SMALLEST = 1e-9  # a loss of 0 has no logarithm
SCORES = {CLASSES: ("log-loss", "accuracy"), NUMBER: ("RMSE / deviation", "R²")}


def measure(folder, seeds, rows, only=None, pack=False, peers=False, ablation=False, records=None):
    """A record of every table, seed and model.

    Args:
        folder: the tables, as `table_files` finds them; None is scikit-learn's alone.
        seeds: how often each table is split, and each model made.
        rows: at most so many rows of a table, drawn for each seed.
        only: names of tables; None is all.
        pack: whether our packs take part, too.
        peers: whether the models of other libraries do, those that are installed.
        ablation: our pack alone, and the same without one of its parts.
        records: `TableRecords`; what is among them is not measured again.
    """
    files = {} if folder is None else table_files(folder)
    names = [name for name in (*files, *OF_SKLEARN) if only is None or name in only]
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # which RealMLP-TD and TabM train with
    models, missing = chosen_models(pack, peers, ablation)
    records, cold = TableRecords() if records is None else records, set(models)
    with threadpool_limits(1):
        for name in names:
            table = read_table(name, files.get(name))
            for seed in range(seeds):
                parts = split(table, seed, rows)
                for variant, of_kinds in models.items():
                    model = of_kinds[table.kind](seed)
                    if (key := key_of(variant, model, parts)) not in records:
                        if variant in cold:
                            warm_up(of_kinds)
                            cold.remove(variant)
                        found = scored(model, parts, table.kind)
                        records.add(key, {"network": name, "seed": seed, "variant": variant, **found})
                    yield records[key]
    yield {"note": f"at most {rows} rows of a table, {seeds} seeds, one thread"}
    if missing:
        yield {"note": missing}


def chosen_models(pack, peers, ablation):
    """{name: {kind of target: the model of a seed}}, and which are missing, in words."""
    if ablation:
        return ABLATION, ""
    of_libraries, missing = library_models() if peers else ({}, "")
    return MODELS | (PACK if pack else {}) | of_libraries, missing


def warm_up(of_kinds):
    """Train the models once, so that what is imported and prepared for the first one is not counted."""
    for kind, name in ((CLASSES, "iris"), (NUMBER, "diabetes")):
        scored(of_kinds[kind](0), split(read_table(name), 0, most_rows=100), kind)


def scored(model, parts, kind):
    """The loss and the score on the test rows, the loss of who knows only the training targets, and the seconds."""
    start = processor_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's defaults stop early, and peers warn of their own imports
        model.fit(parts.x, parts.y)
    answers = (model.predict_proba if kind == CLASSES else model.predict)(parts.x_test)
    seconds = processor_seconds() - start
    if kind == CLASSES:
        shares = np.bincount(parts.y) / len(parts.y)
        loss = log_loss(parts.y_test, answers, labels=range(len(shares)))
        trivial = log_loss(parts.y_test, np.tile(shares, (len(answers), 1)), labels=range(len(shares)))
        score = accuracy_score(parts.y_test, answers.argmax(1))
    else:
        deviation = parts.y.std()
        loss = root_mean_squared_error(parts.y_test, answers) / deviation
        trivial = root_mean_squared_error(parts.y_test, np.full(len(answers), parts.y.mean())) / deviation
        score = r2_score(parts.y_test, answers)
    return {"task": kind, "loss": loss, "trivial": trivial, "score": score, "s": seconds}


def processor_seconds():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def show(console, records):
    """A table of each kind of target, and the summary."""
    for kind, of_kind in SCORES.items():
        if mine := [record for record in records if record["task"] == kind]:
            console.print(
                f"{of_kind[0]}, {of_kind[1]} and seconds of the processor, means over the seeds", soft_wrap=True
            )
            variants = list(dict.fromkeys(record["variant"] for record in mine))
            for start in range(0, len(variants), ACROSS):
                console.print(of_tables(mine, variants[start : start + ACROSS]))
    console.print(LEGEND.format(peer=peer_of(records)), soft_wrap=True)
    console.print(summary(records))


def of_tables(records, variants):
    table = Table()
    table.add_column("table", no_wrap=True)
    for variant in variants:
        table.add_column(variant, justify="right")
    for name in dict.fromkeys(record["network"] for record in records):
        cells = []
        for variant in variants:
            mine = [r for r in records if (r["network"], r["variant"]) == (name, variant)]
            loss, score, s = (statistics.fmean(r[key] for r in mine) for key in ("loss", "score", "s"))
            cells.append(f"{loss:.3f} {score:.3f} {s:.2f}")
        table.add_row(name, *cells)
    return table


def summary(records):
    """A row for each model: what `summaries` gives."""
    table = Table()
    table.add_column("model", no_wrap=True)
    for heading, _ in COLUMNS.values():
        table.add_column(heading, justify="right")
    for variant, row in summaries(records).items():
        table.add_row(variant, *(form.format(row[key]) for key, (_, form) in COLUMNS.items()))
    return table


def summaries(records):
    """{model: what COLUMNS names}."""
    variants, peer = list(dict.fromkeys(record["variant"] for record in records)), peer_of(records)
    kinds = {"normalised": dict, "logs": dict, "rank": list, CLASSES: list, NUMBER: list, "s": dict}
    found = {variant: {key: kind() for key, kind in kinds.items()} for variant in variants}
    for (name, seed), of_split in itertools.groupby(records, operator.itemgetter("network", "seed")):
        of_split = list(of_split)
        losses = [record["loss"] for record in of_split]
        of_peer = next(record["loss"] for record in of_split if record["variant"] == peer)
        for record in of_split:
            best, of_trivial, mine = min(losses), record["trivial"], found[record["variant"]]
            normalised = max(0.0, (of_trivial - record["loss"]) / (of_trivial - best)) if best < of_trivial else 0.0
            mine["normalised"].setdefault(seed, []).append(normalised)
            mine["logs"].setdefault(name, []).append(math.log(max(record["loss"], SMALLEST) / max(of_peer, SMALLEST)))
            mine["rank"].append(1 + sum(loss < record["loss"] for loss in losses))
            mine[record["task"]].append(record["score"])
            mine["s"][name] = mine["s"].get(name, 0) + record["s"]
    return {variant: _row(of, found[peer]["s"]) for variant, of in found.items()}


def peer_of(records):
    """The model that ratios are to: scikit-learn's MLP, or the first one where it takes no part."""
    variants = [record["variant"] for record in records]
    return PEER if PEER in variants else variants[0]


def _standard_error(values):
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _row(of, peer):
    of_seeds = [statistics.fmean(values) for values in of["normalised"].values()]
    logs = [statistics.fmean(values) for values in of["logs"].values()]
    loss_ratio = math.exp(statistics.fmean(logs))
    mean = {key: statistics.fmean(of[key]) if of[key] else math.nan for key in ("rank", CLASSES, NUMBER)}
    return {
        "normalised": statistics.fmean(of_seeds),
        "error": _standard_error(of_seeds),
        "loss_ratio": loss_ratio,
        "ratio_error": loss_ratio * _standard_error(logs),
        **mean,
        "s": sum(of["s"].values()),
        "ratio": sum(of["s"].values()) / sum(peer.values()),
        "median_ratio": statistics.median(s / peer[name] for name, s in of["s"].items()),
    }
