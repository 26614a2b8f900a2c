"""`torchbp configs`, and a configuration by its name."""

from pathlib import Path

import pytest

from torchbp.cli import main
from torchbp.cli.configs import packaged
from torchbp.training.cli.arguments import find_config
from torchbp.training.errors import SettingError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_list_has_every_configuration_and_what_it_is_for(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines[:-2])


def test_one_is_copied_and_never_over_a_file(capsys):
    assert main(["configs", "xor"]) == 0
    assert capsys.readouterr() == ("wrote    xor.yaml\n", "")
    assert Path("xor.yaml").read_bytes() == (CONFIGS / "xor.yaml").read_bytes()
    Path("xor.yaml").write_text("mine")
    assert main(["configs", "xor"]) == 2
    error = "torchbp: error: xor.yaml exists already, and is not replaced; move it away first\n"
    assert capsys.readouterr() == ("", error)
    assert Path("xor.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xorr"], "there is no packaged configuration 'xorr'; did you mean xor?"),
        (["../xor"], "there is no packaged configuration '../xor'; did you mean xor?"),
        (["xor", "digits"], "unrecognized arguments: digits"),
        (["--copy", "xor"], "there is no option --copy; there are --help"),
    ],
)
def test_what_is_not_there_is_refused(arguments, message, capsys):
    assert main(["configs", *arguments]) == 2
    assert capsys.readouterr() == ("", f"torchbp: error: {message}\n")
    assert list(Path().iterdir()) == []


def test_a_name_is_the_packaged_configuration_unless_a_file_has_it():
    assert find_config("xor") == packaged()["xor"]
    Path("xor").write_text("seed_everything: 1")
    assert find_config("xor") == Path("xor")
    for name, message in (("digit", "digit; did you mean digits?"), ("no.yaml", "no.yaml$"), ("a/xor", "a/xor$")):
        with pytest.raises(SettingError, match=f"there is no file {message}"):
            find_config(name)


def test_a_wheel_lists_its_files_in_its_metadata(tmp_path, monkeypatch):
    """As importlib.metadata shows those of an installed wheel; `.ci/run` installs one."""

    class Entry(type(Path())):
        def locate(self):
            return tmp_path / self

    names = ["../../../share/torchbp/configs/mine.yaml", "torchbp/__init__.py", "../../../bin/torchbp"]
    monkeypatch.setattr("importlib.metadata.files", lambda name: [Entry(name) for name in names])
    assert packaged() == {"mine": (tmp_path / names[0]).resolve()}
