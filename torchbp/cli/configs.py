"""`torchbp configs`: the configurations that come with torchbp; `-c NAME` finds them too."""

import importlib.metadata
from pathlib import Path

import torchbp
from torchbp.cli.parser import Parser
from torchbp.printing import complain, did_you_mean, say

INSTALLED = "share/torchbp/configs"  # in the environment's folder, as setup.cfg says


def packaged():
    """{name: path} of the configurations that come with torchbp, in a clone or in an installed wheel."""
    try:
        files = importlib.metadata.files("torchbp") or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    paths = [Path(file.locate()).resolve() for file in files if file.parent.as_posix().endswith(INSTALLED)]
    paths = paths or (Path(torchbp.__file__).parents[1] / "configs").glob("*.yaml")
    return {path.stem: path for path in sorted(paths)}


def main(arguments: list[str]) -> int:
    """Run `torchbp configs ARGUMENTS…`. Returns the exit status."""
    parser = Parser(prog="torchbp configs", description="List the packaged configurations, or copy one of them here.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="copy NAME.yaml into this folder")
    name = parser.parse_args(arguments[1:]).name
    configs = packaged()
    if name is None:
        for config, path in configs.items():
            print(f"{config:<16} {_title(path)}")
        print("\ntorchbp configs NAME copies one into this folder; torchbp fit -c NAME runs it as it is.")
        return 0
    if name not in configs:
        complain(f"there is no packaged configuration {name!r}; {did_you_mean(name, configs)}")
        return 2
    copy, content = Path(f"{name}.yaml"), configs[name].read_bytes()
    try:
        with copy.open("xb") as file:
            file.write(content)
    except FileExistsError:
        complain(f"{copy} exists already, and is not replaced; move it away first")
        return 2
    except OSError as error:
        complain(f"{copy} cannot be written: {error.strerror}")
        return 1
    say("wrote", copy)
    return 0


def _title(path):
    """The first line of the file, a comment that says what it is for."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
