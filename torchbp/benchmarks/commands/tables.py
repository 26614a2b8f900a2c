"""`torchbp bench tables FOLDER`: our estimators' defaults on real tables, beside scikit-learn's and other libraries'.

Each model gets the same numbers of the same training rows. Its seconds are those of the processor, of its threads and
of the processes that it starts, to fit and to answer the test rows.
"""

import logging
import statistics

import torch
from rich.table import Table
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.helpers.real_tables import CLASSES, NUMBER, OF_SKLEARN, read_table, split, table_files
from torchbp.benchmarks.helpers.real_tables.table_models import FIRST, PEER, chosen_models
from torchbp.benchmarks.helpers.real_tables.table_records import TableRecords, key_of
from torchbp.benchmarks.helpers.real_tables.table_scores import scored
from torchbp.benchmarks.helpers.real_tables.table_summaries import paired, summaries

COLUMNS = {  # of each model
    "rank": ("mean rank", "{:.2f}"),
    "rank_error": ("±", "{:.2f}"),
    "loss_ratio": ("loss ratio", "{:.3f}"),
    "loss_ratio_error": ("±", "{:.3f}"),
    "normalised": ("normalised loss", "{:.3f}"),
    CLASSES: ("accuracy", "{:.3f}"),
    NUMBER: ("R²", "{:.3f}"),
    "s": ("seconds", "{:.1f}"),
    "ratio": ("time ratio", "{:.2f}"),
}
PAIRS = {  # of one model beside each other one
    "loss_ratio": ("loss ratio", "{:.3f}"),
    "loss_ratio_error": ("±", "{:.3f}"),
    "lower": ("lower on", "{}"),
    "tables": ("of tables", "{}"),
    "splits": ("splits", "{}"),
    "ratio": ("time ratio", "{:.3f}"),
}
LEGEND = (
    "all tables: the rank is by the loss. The loss ratio is the geometric mean of the loss divided by that of {peer}, "
    "where a log-loss below 1/N, of N test rows, counts as 1/N. The normalised loss is 1 for the best model of a "
    "split, and 0 for who knows only the shares of the classes or the mean. ± is the standard error, from the tables"
)
ACROSS = 4  # models in a table
SCORES = {CLASSES: ("log-loss", "accuracy"), NUMBER: ("RMSE / deviation", "R²")}


def measure(folder, seeds, rows, only=None, pack=False, peers=False, ablation=False, models=None, records=None):
    """A record of every table, seed and model.

    Args:
        folder: the tables, as `table_files` finds them; None is scikit-learn's alone.
        seeds: how often each table is split, and each model made.
        rows: at most so many rows of a table, drawn for each seed.
        only: names of tables; None is all.
        pack: whether our packs take part, too.
        peers: whether the models of other libraries do, those that are installed.
        ablation: our pack alone, and the same without one of its parts.
        models: names of models, these alone, whatever the three before say.
        records: `TableRecords`; what is among them is not measured again.
    """
    files = {} if folder is None else table_files(folder)
    names = [name for name in (*files, *OF_SKLEARN) if only is None or name in only]
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # which RealMLP-TD and TabM train with
    models, missing = chosen_models(pack, peers, ablation, models)
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


def warm_up(of_kinds):
    """Train the models once, so that what is imported and prepared for the first one is not counted."""
    for kind, name in ((CLASSES, "iris"), (NUMBER, "diabetes")):
        scored(of_kinds[kind](0), split(read_table(name), 0, most_rows=100), kind)


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
    if not records:  # of models that are not installed, as a note says
        return
    variants = list(dict.fromkeys(record["variant"] for record in records))
    peer = PEER if PEER in variants else variants[0]
    console.print(LEGEND.format(peer=peer), soft_wrap=True)
    console.print(as_table(summaries(records, peer), COLUMNS))
    if len(variants) > 1:
        first = next((name for name in FIRST if name in variants), variants[0])
        console.print(f"{first} beside each other one, on the same splits: its loss divided by theirs", soft_wrap=True)
        console.print(as_table(paired(records, first), PAIRS))


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


def as_table(rows, columns):
    """A row for each model."""
    table = Table()
    table.add_column("model", no_wrap=True)
    for heading, _ in columns.values():
        table.add_column(heading, justify="right")
    for variant, row in rows.items():
        table.add_row(variant, *(form.format(row[key]) for key, (_, form) in columns.items()))
    return table
