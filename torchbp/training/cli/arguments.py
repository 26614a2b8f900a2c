"""The keys of the training commands, and their errors: one line with the key, the value and the remedy."""

import contextlib
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser

from torchbp.cli import keys
from torchbp.cli.configs import packaged
from torchbp.cli.keys import LINKED
from torchbp.cli.recipes import WHY, recipe_settings
from torchbp.printing import did_you_mean, nearest_name, quoted
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.checkpoints.resuming import is_of_folds
from torchbp.training.errors import SettingError

NEAR = 0.75  # the likeness of two names, from 0 to 1, of which one may be meant for the other
GROUPS = {group: pkgutil.resolve_name(path) for group, path in keys.GROUPS.items()}
# keys of names: whether it must be a list
LISTS = {
    name: parameter.annotation == list[str]
    for name, parameter in inspect.signature(GROUPS["data"]).parameters.items()
    if "list[str]" in str(parameter.annotation)
}
IN_QUOTES = {"default_style": '"', "default_flow_style": True, "allow_unicode": True, "width": float("inf")}
NAMES = re.compile(rf"--data\.({'|'.join(LISTS)})(?==|$)")
# keys that may be true: --KEY alone sets them so
SWITCHES = {
    f"--{prefix}{name}"
    for prefix, owner in (
        *((f"{group}.", owner) for group, owner in {**GROUPS, "trainer": Trainer}.items()),
        ("", keys.predict_keys),
        ("", keys.explain_keys),
    )
    for name, parameter in inspect.signature(owner).parameters.items()
    if re.search(r"\bbool\b", str(parameter.annotation))
}


class Parser(LightningArgumentParser):
    """A parser whose errors are one line, without the usage text."""

    def error(self, message, ex=None):
        raise SettingError(shorten(message))


def configs_first(arguments):
    """The arguments with every -c FILE first, so that a flag overrides all files. Each file is checked.

    A `fit` that resumes a run, and names no file, has the run's own; and one that resumes the folder of all runs of
    `data.folds` that of the first one, but for its `data.fold`.
    """
    command, *rest = arguments
    files, flags = [], []
    while rest:
        flag = rest.pop(0)
        if flag in ("-c", "--config") and rest:
            files.append(rest.pop(0))
        elif flag.startswith(("-c=", "--config=")):
            files.append(flag.split("=", 1)[1])
        else:
            flags.append(flag)
    if command == "fit" and not files:
        files, changed = config_of_run(flags)
        flags = [*changed, *flags]
    files = [str(find_config(path)) for path in files]
    contents = [check_config_file(Path(path)) for path in files]
    recipe = recipe_flags(contents, flags) if command == "fit" else []
    return [command, *recipe, *(f"--config={path}" for path in files), *as_texts(switched_on(flags))]


def switched_on(flags):
    """The flags, in which a switch without a value has the value true."""
    following = itertools.zip_longest(flags, flags[1:], fillvalue="--")
    return [f"{flag}=true" if flag in SWITCHES and after[:2] == "--" else flag for flag, after in following]


def as_texts(flags):
    """The flags, in which a list of names is one of texts: in YAML `[no, 7]` is a list of false and 7. One name may
    stand for a list of it."""
    flags = [part for flag in flags for part in (flag.split("=", 1) if NAMES.match(flag) and "=" in flag else [flag])]
    for at, flag in enumerate(flags[:-1], 1):
        value = flags[at]
        if (key := NAMES.fullmatch(flag)) and (value.startswith("[") or (LISTS[key[1]] and value[:2] != "--")):
            with contextlib.suppress(yaml.YAMLError):
                names = yaml.load(value, yaml.BaseLoader)
                names = names if isinstance(names, list) else [names]
                flags[at] = yaml.safe_dump(names, **IN_QUOTES).strip()
    return flags


def recipe_flags(contents, flags):
    """The settings of the recipe that the files, or after them the flags, name: they stand before both."""
    named = [content["recipe"] for content in contents if "recipe" in content]
    for flag, value in itertools.zip_longest(flags, flags[1:], fillvalue=""):
        if flag == "--recipe" or flag.startswith("--recipe="):
            named.append(flag.partition("=")[2] or value)
    recipe = str(named[-1]) if named else "mlp"
    if recipe not in WHY:
        raise SettingError(f"recipe={recipe} is not known; use {', '.join(WHY)}")
    return [f"--{key}={value}" for key, value in recipe_settings(recipe).items()]


def config_of_run(flags):
    """The config.yaml of the run, or of its checkpoint, that --ckpt_path names, a list, empty if there is none; and the
    flags that change it.

    Raises:
        UserError: there is no such checkpoint.
    """
    paths = [after for flag, after in itertools.pairwise(flags) if flag == "--ckpt_path"]
    paths += [flag.split("=", 1)[1] for flag in flags if flag.startswith("--ckpt_path=")]
    for path in map(Path, paths[:1]):
        if is_of_folds(path):
            return [str(path / "fold_1" / "config.yaml")], ["--data.fold=null"]
        for folder in (path, *path.absolute().parents[:2]):
            if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir():
                return [str(folder / "config.yaml")], []
        read_checkpoint(find_checkpoint(path, resume=True))  # the error names the checkpoint, and no missing key
    return [], []


def find_config(name):
    """The path that -c names; if there is no such file, the packaged configuration of this name."""
    path, configs = Path(name), packaged()
    if path.is_file():
        return path
    if name in configs:
        return configs[name]
    remedy = f"; {did_you_mean(name, configs)}" if path.suffix == "" and str(path.parent) == "." else ""
    raise SettingError(f"there is no file {path}{remedy}")


class _UniqueKeys(yaml.SafeLoader):
    """In YAML the second of two equal keys wins; here it is an error."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:  # YAML itself refuses a list as a key
                raise yaml.constructor.ConstructorError(None, None, f"a second {key.value!r}", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def check_config_file(path):
    """The content of a file, which is YAML with keys; an error names the file and the line."""
    try:
        content = yaml.load(path.read_text(), _UniqueKeys)
    except yaml.MarkedYAMLError as error:
        raise SettingError(f"{path}, line {error.problem_mark.line + 1}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise SettingError(f"{path} holds no keys; see configs/breast_cancer.yaml for what it may hold")
    model = content.get("model")
    for name in LINKED:
        if isinstance(model, dict) and name in model:
            raise SettingError(f"{path}: model.{name} comes from the data; leave it out")
    return content


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
