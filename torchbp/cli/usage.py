"""The help of the training commands, on one screen. It imports nothing, so that it is there at once."""

# key: what stands for its value, what it is, its default as one would type it (the tests compare it with the code's)
DATA = {
    "data.source": ("SOURCE", "breast_cancer, digits, xor, a CSV or a Parquet file", None),
    "data.target": ("COLUMN", "the labels; or [A, B, …], columns of zeros and ones", None),
    "data.id": ("COLUMN", "names the rows, and is no feature", None),
    "data.ignore": ("[A, …]", "columns that are no features", "[]"),
    "data.batch_size": ("N", "rows of a step", "32"),
}
NETWORK = {
    "model.hidden": ("[N, …]", "units of each hidden layer", "[16]"),
    "model.activation": ("NAME", "sigmoid, tanh or relu", "sigmoid"),
    "model.lr": ("X", "learning rate; or [X, …], a sweep of them", "0.1"),
    "model.members": ("E", "networks in one run, for each lr", None),
}
MODEL = {
    **NETWORK,
    "model.engine": ("NAME", "autograd, or explicit: the same, faster", "autograd"),
    "model.momentum": ("X", "share of the last step in the next", "0.0"),
    "model.weight_decay": ("X", "pull of every weight towards 0", "0.0"),
}
STOP = {
    "stopping.min_grad_norm": ("X", "stop where the gradient's norm is less", "0.0"),
    "stopping.patience": ("N", "stop after N epochs without a lower loss", "20"),
    "trainer.max_epochs": ("N", "stop after N epochs", "200"),
}
TRAINER = {"trainer.accelerator": ("NAME", "cpu, gpu or auto", "auto")}
CHECKPOINT = {"ckpt_path": ("FILE", "the trained network, runs/…/checkpoints/best.ckpt", None)}
SEED = {"seed_everything": ("N", "of the first weights and the order of rows", "0")}
GO_ON = {"ckpt_path": ("FILE", "go on from runs/…/checkpoints/last.ckpt", None)}
OUTPUT = {
    "output": ("FILE", "the CSV or Parquet file to write", "predictions.csv"),
    "overwrite": ("true", "replace that file", "false"),
}
EXPLAIN = {
    "ckpt_path": ("FILE", "the trained network; without it, a fresh one", None),
    "row": ("N", "of the data; without it row 1, or all of xor", None),
    "y": ("CLASS", "of the row, in place of its label", None),
    "lr": ("X", "learning rate of the step; without it, model.lr", None),
    "layer": ("N", "print one layer, from 1", None),
    "weights": ("zero", "what if all weights were 0?", None),
    "saturate": ("true", "what if it were saturated, and wrong?", "false"),
    "json": ("FILE", "write it as JSON", None),
    "html": ("FILE", "write it as a page to step through", None),
}
OPTIONS = {
    "fit": {**DATA, **MODEL, **STOP, **TRAINER, **SEED, **GO_ON},
    "validate": {**CHECKPOINT, **TRAINER},
    "test": {**CHECKPOINT, **TRAINER},
    "predict": {**CHECKPOINT, "data.source": DATA["data.source"], "data.id": DATA["data.id"], **OUTPUT, **TRAINER},
    "explain": {**EXPLAIN, "data.source": DATA["data.source"], "data.target": DATA["data.target"], **NETWORK, **SEED},
}


def usage(command, what):
    """The text of `torchbp COMMAND --help`."""
    lines = [f"usage: torchbp {command} [-c FILE …] [--KEY VALUE …]", what, ""]
    lines.append(f"  {'-c FILE':<26} keys in YAML, such as configs/breast_cancer.yaml")
    for key, (value, text, default) in OPTIONS[command].items():
        ending = "" if default is None else f" ({default})"
        lines.append(f"  {f'--{key} {value}':<26} {text}{ending}")
    return "\n".join([*lines, "", f"All keys, also of Lightning's Trainer: torchbp {command} --help all"])
