"""The errors of the keys of the training commands: one line with the key, the value and the remedy."""

import inspect
import pkgutil
import re
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser

from torchbp.cli import keys
from torchbp.cli.keys import LINKED
from torchbp.printing import nearest_name, quoted
from torchbp.training.errors import SettingError

NEAR = 0.75  # the likeness of two names, from 0 to 1, of which one may be meant for the other
GROUPS = {group: pkgutil.resolve_name(path) for group, path in keys.GROUPS.items()}


class Parser(LightningArgumentParser):
    """A parser whose errors are one line, without the usage text."""

    def error(self, message, ex=None):
        raise SettingError(shorten(message))


def shorten(message):
    """jsonargparse's message in one line: the key, the value, and what is expected."""
    message = re.sub(r"/--[\w.]+\+", "", message)  # jsonargparse's notation for appending to a list
    if linked := re.match(r'Linked "([\w.]+)" must be given via', message):
        return f"{linked[1]} comes from the data; leave it out"
    if stray := re.match(r"unrecognized arguments: ([^-\s].*)", message):
        path = Path(stray[1])  # of one argument, whose name has blanks; or there are several
        path = path if path.exists() else Path(stray[1].split()[0])
        of_run = path.is_dir() or path.suffix == ".ckpt"
        key = "ckpt_path" if of_run else "data.source" if path.is_file() else "KEY"
        return f"{str(path)!r} belongs to no key; give a value as --{key} {quoted(path)}"
    if unknown := re.search(r"unrecognized arguments: --([^\s=]+)|does not accept option '([^']+)'", message):
        key = unknown[1] or unknown[2]
        return f"there is no key {key!r}; {nearest(key, known_keys())}"
    if reason := reason_of_class(message):
        return reason
    if wrong := re.match(r'Parser key "([^"]+)"', message):
        types = re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", message)
        value = re.search(r"(?:Got|Given) value: (.*)", message)
        if choices := re.findall(r"Expected a typing.Literal\[(.*)\]", message):
            choices = dict.fromkeys(re.findall(r"[^', ]+", ", ".join(choices)))
            return f"{wrong[1]}={value[1]} must be one of {', '.join(choices)}"
        if types and value:
            types = " or ".join(dict.fromkeys(types)).replace("NoneType", "null")
            # a name that YAML takes for something else
            remedy = "; write it in quotes" if types.removesuffix(" or null") == "str" else ""
            return f"{wrong[1]}={value[1]} must be of type {types}{remedy}"
    if missing := re.match(r"the following arguments are required: (?:\w+\.)?(.*)", message):
        return f"{missing[1]} is missing; set it in the file of -c, or as --{missing[1]}"
    return " ".join(message.removeprefix("argument ").split())


def reason_of_class(message):
    """Why an object of a class that a setting names, such as a logger, cannot be made; None for any other message.
    jsonargparse tries each type that the setting may have, and lists the error of each."""
    tried = re.search(r"Errors:\n( *)- (.*)\n *Given value type: .*\n *Given value: (.*)", message, re.DOTALL)
    if not tried:
        return None
    reasons = [" ".join(reason.split()) for reason in re.split(rf"\n{tried[1]}- ", tried[2])]
    reasons = [reason for reason in reasons if not re.match(r"Expected an? (<|typing)|Not a valid subclass", reason)]
    if not reasons:
        return None
    reason = min(reasons, key=lambda reason: reason.startswith("Import path"))  # an error of the wrong type
    key = re.match(r'Parser key "([^"]+)"', message)
    path = _class_with_trouble(reason, tried[3])
    is_value = "Problem with given class_path" in reason  # the class itself is what the key is set to
    where = ("=" if is_value else ": ").join(part for part in (key and key[1], path) if part)
    if key and path is None and not tried[3].startswith("NestedArg"):  # jsonargparse's type for --KEY.init_args.NAME
        where = f"{where}={tried[3]}"
    for pattern, words in (
        (r"Problem with given class_path '[^']*': ", ""),
        (r"Option ('[^']+') is not accepted", r"the class has no argument \1"),
        (r"(\w+) is missing; set it in .*", r"the class needs init_args with \1"),
        (r"Expected a dot import path string: (.*)", r"there is no class \1; give module.Class"),
        (r"Requirement '?([\w-]+)[^']*'? not met.*HINT: Try running `(.*)`", r"\1 is not installed: \2"),
    ):
        reason = re.sub(pattern, words, reason)
    return f"{where}: {reason}"


def _class_with_trouble(reason, value):
    """Of the classes that a value lists, the one that the reason is about, or the first; "" if the reason names it, and
    None if there is no class."""
    if named := re.findall(r"Problem with given class_path '([^']*)'", reason):
        return named[-1]
    classes = re.findall(r"class_path'?[=:] ?'([^']+)'(.*?)(?=class_path|$)", value)
    if any(path in reason for path, _ in classes):
        return ""
    argument = re.search(r"Option '([^']+)'|key \"([^\"]+)\"|^(\w+) is missing", reason)
    name = next(filter(None, argument.groups()), None) if argument else None
    having = [path for path, settings in classes if name and re.search(rf"\b{re.escape(name)}'?[=:]", settings)]
    return next(iter([*having, *(path for path, _ in classes)]), None)


def known_keys():
    groups = {**GROUPS, "trainer": Trainer}
    keys = [f"{group}.{name}" for group, of in groups.items() for name in inspect.signature(of).parameters]
    return [*keys, *groups, "seed_everything", "config", "ckpt_path", "output", "overwrite", "recipe", "budget"]


def nearest(name, known):
    """The end of a message about an unknown key: the known one that is meant, if one is really near; otherwise the keys
    of its group, or the groups.

    A key is near if it has the same name in another group, or a name that is nearly the same in the same group.
    """
    group, _, last = name.rpartition(".")
    keys = [key for key in known if key.rpartition(".")[2] == last]
    groups = dict.fromkeys(key.partition(".")[0] for key in known if "." in key)
    group = nearest_name(group, groups) or "" if group else ""
    inside = [key.rpartition(".")[2] for key in known if key.rpartition(".")[0] == group]
    inside = [its for its in inside if group != "model" or its not in LINKED]
    swapped = [its for its in inside if sorted(its) == sorted(last)]
    if not keys and (near := nearest_name(last, swapped or inside, 0 if swapped else NEAR)):
        keys = [f"{group}.{near}" if group else near]
    if keys:
        return f"did you mean {nearest_name(name, keys, 0)}?"
    return f"{group} has {', '.join(inside)}" if group else f"there are {', '.join(sorted({*groups, *inside}))}"
