"""The arguments of the training commands: files first, flags that override them, and what a flag without a value is."""

import contextlib
import inspect
import itertools
import re
from pathlib import Path

import yaml
from pytorch_lightning import Trainer

from torchbp.cli import keys
from torchbp.cli.configs import packaged
from torchbp.cli.keys import LINKED
from torchbp.cli.recipes import AUTO, WHY, recipe_settings
from torchbp.printing import did_you_mean
from torchbp.training.checkpoints.reading import find_checkpoint, read_checkpoint
from torchbp.training.checkpoints.resuming import is_of_folds
from torchbp.training.cli.argument_errors import GROUPS
from torchbp.training.errors import SettingError

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
    recipe = str(named[-1]) if named else AUTO
    if recipe not in (AUTO, *WHY):
        raise SettingError(f"recipe={recipe} is not known; use {', '.join([AUTO, *WHY])}")
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
