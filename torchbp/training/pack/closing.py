"""The end of a pack's run: its table of configurations, its page, and the closing lines."""

import pandas as pd
import torch

from torchbp.printing import quoted, say
from torchbp.training.atomic_write import atomic_write
from torchbp.training.cli import judgement, run_page, summary
from torchbp.training.pack.budget import budget_words
from torchbp.training.scores.scores import Scores

MOST_NAMED = 3  # chosen configurations, in a line


def close(run):
    """Write what the run has found, and print the closing lines. run: a `PackRun`."""
    command, folder, model = run.command, run.folder, run.model
    if model is None:
        say("stopped", "before the first networks were trained: it was interrupted")
        return
    write_configurations(model, folder / "configurations.csv")
    lines = [("stopped", _stopped(run)), ("chosen", chosen_words(model))]
    answers = model.held_out_answers(run.data.rows("val")[0])
    scores = held_out_scores(answers, model.task, run.data)
    lines += [("best", f"{_figures(scores, model.task)}in {summary.shown(_best(folder))}")]
    if command.status:
        lines += [("run", summary.shown(folder)), *summary.resume_lines(command)]
    else:
        if baseline := judgement.baseline_scores(command.model, run.data):
            lines.append(("baseline", judgement.baseline_line(baseline)))
            lines += [("watch", trouble) for trouble in judgement.baseline_troubles(scores["loss"], baseline)]
        try:
            run_page.write_pack_page(run, lines, answers)
            lines.append(("page", summary.shown(folder / "report.html")))
        except OSError as error:
            lines += [("run", summary.shown(folder)), ("watch", f"the page cannot be written: {error.strerror}")]
        labelled = "" if len(run.data.splits["test"]) else " --data.test_source FILE"
        labelled += summary.from_stdin(run.data)
        lines.append(("next", f"{summary.program()} test --ckpt_path {quoted(summary.shown(folder))}{labelled}"))
    for label, text in lines:
        say(label, text)
    command.model = model


def _stopped(run):
    configurations = len(run.model.hparams.configurations)
    count = f"{configurations * len(run.rows.fold_sizes)} networks of {configurations} configurations"
    if run.command.status:
        return f"after {count}: it was interrupted"
    budget = run.command.settings.budget
    return f"after {count}: {'all are trained' if budget is None else f'the budget of {budget_words(budget)} is used'}"


def _best(folder):
    return folder / "checkpoints" / "best.ckpt"


def chosen_words(model):
    """Which configurations answer, the largest share first."""
    chosen = sorted(model.chosen, key=lambda one: -one["share"])
    words = [f"{one['number']} ({sizes(one)}, lr {one['lr']:.2g}) {one['share']:.0%}" for one in chosen[:MOST_NAMED]]
    networks = f"{len(model.nets)} network{'s' * (len(model.nets) > 1)}"
    count = f"{len(chosen)} of {len(model.hparams.configurations)} configurations, {networks}"
    more = ", …" if len(chosen) > MOST_NAMED else ""
    alone = min(one["loss"] for one in model.hparams.configurations if one["loss"] is not None)
    return f"{count}: {', '.join(words)}{more}; the best alone has val/loss {alone:.4f}"


def sizes(configuration):
    return "-".join(map(str, configuration["hidden"]))


@torch.no_grad()
def held_out_scores(answers, task, data):
    """{metric: score} of these answers to the validation rows."""
    scores, (_, y, *w) = Scores(task), data.rows("val")
    scores.add(task.outputs_for(answers)[None, None], y, w[0] if w else None)
    return {name: float(score[0]) for name, score in scores.means(lambda sums: sums)[1].items()}


def _figures(scores, task):
    return "".join(f"val/{name} {scores[name]:.4f}  " for name in ("loss", task.score))


def write_configurations(model, path):
    """A row for each configuration: what was drawn, its validation loss, and its share in the answers."""
    frame = pd.DataFrame(model.hparams.configurations)
    frame["hidden"] = [sizes(one) for one in model.hparams.configurations]
    with atomic_write(path) as temporary:
        frame.to_csv(temporary, index=False)
