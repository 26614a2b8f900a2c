"""The help pages: every key with its default, as the parsers have them, in one layout, and at once."""

import contextlib
import inspect
import io

import pytest

from torchbp.cli import COMMANDS, main
from torchbp.cli.help import SECTIONS, keys_of, written
from torchbp.cli.keys import LINKED
from torchbp.cli.layout import LEFT, WIDTH, page
from torchbp.cli.signatures import REQUIRED, argument_texts, parameters_of
from torchbp.training.cli.argument_errors import GROUPS


def printed(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(list(arguments)) == 0
    return out.getvalue()


HELP = [["--help"], *([name, "--help"] for name in COMMANDS), ["bench", "step", "--help"], ["bench", "all", "--help"]]


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_every_help_page_has_one_layout(arguments):
    lines = printed(*arguments).splitlines()
    assert lines[0].startswith(f"usage: torchbp {' '.join(arguments[:-1])}".rstrip())
    assert lines[1][0].isupper()
    assert max(map(len, lines)) <= WIDTH
    options = [line for line in lines[2:] if line.startswith("  ")]
    assert any(line[LEFT - 1] == " " and line[LEFT] != " " for line in options)


@pytest.mark.parametrize("command", SECTIONS)
def test_the_help_of_a_command_shows_every_key_with_its_default_and_a_text(command):
    out = printed(command, "--help")
    for keys in keys_of(command).values():
        assert keys
        for key, parameter in keys.items():
            assert f"  --{key} " in out
            assert parameter.text, key
            if parameter.default is not None and parameter.default is not REQUIRED:
                assert f"(default: {written(parameter.default)})" in " ".join(out.split())


def test_the_keys_are_those_of_the_classes():
    shown = {key: p.default for keys in keys_of("fit").values() for key, p in keys.items()}
    for group, cls in GROUPS.items():
        for name, parameter in inspect.signature(cls).parameters.items():
            if not (group == "model" and name in LINKED):
                default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
                assert shown.pop(f"{group}.{name}") == default
    assert sorted(shown) == [
        "budget", "ckpt_path", "recipe", "seed_everything", "trainer.accelerator", "trainer.devices",
        "trainer.max_epochs"
    ]  # fmt: skip


def test_the_defaults_are_the_parsers(monkeypatch, tmp_path):
    """Of each key that the help of `fit`, `predict` and `explain` shows: what the command takes without it."""
    from torchbp.explanation.cli.command import settings_of
    from torchbp.training.cli.training_cli import TrainingCLI

    class Parsed(Exception):
        """What was parsed is enough."""

    def stop(command):
        settings[command.command] = command.settings
        raise Parsed

    monkeypatch.chdir(tmp_path)
    settings = {"explain": settings_of(["explain", "--data.source", "SOURCE"])}
    monkeypatch.setattr(TrainingCLI, "_parse_ckpt_path", lambda command: None)
    monkeypatch.setattr(TrainingCLI, "before_instantiate_classes", stop)
    for name in ("fit", "predict"):
        with pytest.raises(Parsed):
            main([name, "--data.source", "SOURCE"])
    assert list(settings) == ["explain", "fit", "predict"]
    for name, found in settings.items():
        for keys in keys_of(name).values():
            for key, parameter in keys.items():
                if parameter.default is not REQUIRED:
                    assert found[key] == parameter.default, key


def test_the_whole_help_is_the_parsers():
    whole = printed("fit", "--help", "all")
    keys = [key for section in keys_of("fit").values() for key in section]
    for key in (*keys, "trainer.gradient_clip_val", "config"):
        assert f"--{key} " in whole
    assert "--trainer.max_epochs MAX_EPOCHS" in whole
    assert "default: 200" in " ".join(whole.split())


def test_parameters_of_a_function_in_a_source_file(tmp_path, monkeypatch):
    (tmp_path / "of_a_user.py").write_text(
        "class C:\n"
        '    """C.\n\n    Args:\n        a, b: two numbers. They differ.\n        c: `x` or\n            y.\n\n'
        '    Raises:\n        d: no argument.\n    """\n\n'
        "    def __init__(self, a: int, b: float = 1e-4, c: str | None = None): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = parameters_of("of_a_user:C")
    assert {name: (p.annotation, p.default, p.text) for name, p in found.items()} == {
        "a": ("int", REQUIRED, "two numbers"),
        "b": ("float", 0.0001, "two numbers"),
        "c": ("str | None", None, "x or y"),
    }
    assert argument_texts("no arguments") == {}


def test_a_long_option_stands_over_its_text():
    text = page("x", "What.", {"": [("--short N", "a"), (f"--{'long' * 8} N", "b")], "none": []}, "End.")
    assert text.splitlines() == [
        "usage: x", "What.", "", f"  {'--short N':<26}a", f"  --{'long' * 8} N", f"{'':<28}b", "", "End."
    ]  # fmt: skip
