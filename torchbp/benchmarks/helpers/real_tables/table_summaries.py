"""What the records of `torchbp bench tables` say together: over all tables, and of one model beside each other one."""

import itertools
import math
import operator
import statistics

from torchbp.benchmarks.helpers.real_tables import CLASSES, NUMBER

SMALLEST = 1e-9  # a loss of 0 has no logarithm


def counted_loss(record):
    """The loss, but of classes 1/N at least, of N test rows: below it all rows are right, and how sure a model may be
    of the next ones is more than N rows can tell."""
    return max(record["loss"], 1 / record["rows"] if record["task"] == CLASSES else SMALLEST)


def summaries(records, peer):
    """{model: its figures}, each the mean over the tables of the mean over a table's seeds.

    rank: by the loss, among the models of a split; equal ones share their ranks. loss_ratio: the loss divided by that
    of `peer`, a geometric mean. normalised: 1 for the lowest loss of a split, 0 for who knows the training targets
    alone. CLASSES, NUMBER: accuracy and R². rank_error, loss_ratio_error: their standard errors, from the tables. s:
    seconds of the processor, all together; ratio: to those of `peer`.
    """
    found = {}
    for (name, _), of_split in by_split(records):
        losses = [counted_loss(record) for record in of_split]
        of_peer = next(loss for loss, record in zip(losses, of_split, strict=True) if record["variant"] == peer)
        for loss, record in zip(losses, of_split, strict=True):
            mine = found.setdefault(record["variant"], {"s": {}})
            mine["s"][name] = mine["s"].get(name, 0) + record["s"]
            best, trivial = min(losses), record["trivial"]
            figures = {
                "rank": sum(other < loss for other in losses) + (1 + losses.count(loss)) / 2,
                "log_ratio": math.log(loss / of_peer),
                "normalised": max(0.0, (trivial - loss) / (trivial - best)) if best < trivial else 0.0,
                record["task"]: record["score"],
            }
            for key, figure in figures.items():
                mine.setdefault(key, {}).setdefault(name, []).append(figure)
    return {variant: _row(of, found[peer]["s"]) for variant, of in found.items()}


def _row(of, peer_seconds):
    row = {"s": sum(of["s"].values())}
    row["ratio"] = row["s"] / sum(peer_seconds.values())
    for key in ("normalised", CLASSES, NUMBER):
        row[key], _ = mean_and_error(of.get(key, {}))
    row["rank"], row["rank_error"] = mean_and_error(of["rank"])
    row["loss_ratio"], row["loss_ratio_error"] = geometric(of["log_ratio"])
    return row


def paired(records, first):
    """{other model: the losses of `first` divided by its own, on the splits that both have}.

    loss_ratio: the geometric mean over the tables, and loss_ratio_error. lower, tables: on how many tables the
    geometric mean over the seeds is below 1, and of how many. splits: of how many. ratio: of the seconds.
    """
    found = {}
    for (name, _), of_split in by_split(records):
        of_models = {record["variant"]: record for record in of_split}
        if (mine := of_models.pop(first, None)) is None:
            continue
        for variant, other in of_models.items():
            of = found.setdefault(variant, {"logs": {}, "s": [], "other_s": []})
            of["logs"].setdefault(name, []).append(math.log(counted_loss(mine) / counted_loss(other)))
            of["s"].append(mine["s"])
            of["other_s"].append(other["s"])
    return {variant: _pair(**of) for variant, of in found.items()}


def _pair(logs, s, other_s):
    ratio, error = geometric(logs)
    return {
        "loss_ratio": ratio,
        "loss_ratio_error": error,
        "lower": sum(statistics.fmean(of_table) < 0 for of_table in logs.values()),
        "tables": len(logs),
        "splits": len(s),
        "ratio": sum(s) / sum(other_s),
    }


def by_split(records):
    """((table, seed), its records), as a list."""
    for key, of_split in itertools.groupby(records, operator.itemgetter("network", "seed")):
        yield key, list(of_split)


def mean_and_error(of_tables):
    """Of {table: [a figure of each seed]}; nan where there are too few tables."""
    means = [statistics.fmean(figures) for figures in of_tables.values()]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return statistics.fmean(means) if means else math.nan, error


def geometric(logs_of_tables):
    """The geometric mean and its standard error, of {table: [the logarithm of each seed]}."""
    mean, error = mean_and_error(logs_of_tables)
    return math.exp(mean), math.exp(mean) * error
