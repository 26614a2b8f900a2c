"""The help pages of the commands that take keys: `fit`, `validate`, `test`, `predict` and `explain`."""

from torchbp.cli.keys import GROUPS, LINKED
from torchbp.cli.layout import page
from torchbp.cli.signatures import REQUIRED, parameters_of

HERE = "torchbp.cli.keys:"
# command: title → (prefix of the keys, the function or class that has them, and which of them, None for all)
SECTIONS = {
    "fit": {
        "the recipe": ("", HERE + "recipe_keys", None),
        "the run": ("", HERE + "fit_keys", None),
        "the rows": ("data.", GROUPS["data"], None),
        "the network and gradient descent": ("model.", GROUPS["model"], None),
        "when training stops": ("stopping.", GROUPS["stopping"], None),
        "what is recorded": ("gradients.", GROUPS["gradients"], None),
        "checkpoints": ("checkpoint.", GROUPS["checkpoint"], None),
        "Lightning's Trainer": ("trainer.", HERE + "trainer_keys", None),
    },
    "validate": {
        "the run": ("", HERE + "evaluate_keys", None),
        "the rows": ("data.", GROUPS["data"], ("source", "test_source")),
        "Lightning's Trainer": ("trainer.", HERE + "trainer_keys", ("accelerator",)),
    },
    "predict": {
        "the run": ("", HERE + "evaluate_keys", None),
        "the rows": ("data.", GROUPS["data"], ("source", "id")),
        "the file": ("", HERE + "predict_keys", None),
        "Lightning's Trainer": ("trainer.", HERE + "trainer_keys", ("accelerator",)),
    },
    "explain": {
        "what to show": ("", HERE + "explain_keys", None),
        "the rows": ("data.", GROUPS["data"], ("source", "target")),
        "a fresh network": ("model.", GROUPS["model"], ("hidden", "activation", "lr")),
    },
}
SECTIONS["test"] = SECTIONS["validate"]
CONFIG = ("-c, --config FILE", "a file of keys in YAML, or the name of a packaged one; see torchbp configs")
VALUES = {"int": "N", "float": "X", "bool": "[true|false]", "str": "NAME", "list[int]": "[N, …]", "list[str]": "[A, …]",
          "list[float]": "[X, …]", "dict[str, float]": "{NAME: X, …}"}  # fmt: skip
FILES = ("ckpt_path", "output", "json", "html", "latex", "markdown", "notebook", "svg")
OF_CHECKPOINT = ("data.source", "data.target", "data.id")  # of a command that has a checkpoint


def keys_of(command):
    """Title → {key: Parameter} of all keys that the help of a command shows."""
    sections = {}
    for title, (prefix, owner, names) in SECTIONS[command].items():
        hidden = LINKED if prefix == "model." else ()
        found = {name: p for name, p in parameters_of(owner).items() if name not in hidden}
        sections[title] = {prefix + name: p for name, p in found.items() if names is None or name in names}
    return sections


def help_page(command, what):
    """The text of `torchbp COMMAND --help`."""
    trained = OF_CHECKPOINT if command != "fit" else ()
    rows = {
        title: [_row(key, p, key in trained) for key, p in keys.items()] for title, keys in keys_of(command).items()
    }
    ending = f"All keys, also all of Lightning's Trainer: torchbp {command} --help all"
    return page(f"torchbp {command} [-c FILE …] [--KEY VALUE …]", what, {"": [CONFIG], **rows}, ending)


def _row(key, p, of_checkpoint=False):
    """A key with what stands for its value, by its type; and its text with the default, as one would type it."""
    kinds = [kind for kind in p.annotation.split(" | ") if kind != "None"]
    value = "FILE" if key in FILES else "|".join(VALUES[kind] for kind in kinds)
    if of_checkpoint:
        return f"--{key} {value}", f"{p.text} (default: that of the checkpoint)"
    if p.default is None:
        return f"--{key} {value}", p.text
    default = "required" if p.default is REQUIRED else f"default: {written(p.default)}"
    return f"--{key} {value}", f"{p.text} ({default})"


def written(value):
    """A value as in a configuration."""
    return str(value).lower() if isinstance(value, bool) else str(value)
