"""`torchbp explain` as a user types it."""

import contextlib
import io
import json
import re
import shlex
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.training.trainers import ARTICLE_FLAGS, network
from torchbp.cli import main
from torchbp.explanation.cli import command
from torchbp.training import Network, TabularData

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def quoted(path):
    """As a command line names it: the tests may run from a folder with a space in its path."""
    return shlex.quote(str(path))


CANCER, XOR = (f"-c {quoted(CONFIGS / name)}" for name in ("breast_cancer.yaml", "xor.yaml"))

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def run(capsys):
    def run(arguments):
        status = main(["explain", *shlex.split(arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def checkpoint(trained_run):
    """Of a network like that of configs/breast_cancer.yaml, two epochs old."""
    return trained_run / "checkpoints/last.ckpt"


KINDS = [f"{150 + i},{('red', 'blue')[i % 2]},{'ab'[i // 3 % 2]},{i % 2},{i // 2 % 2}" for i in range(30)]
SHORT = shlex.join(ARTICLE_FLAGS)  # the article's network, whose explanation has few layers
HEADER = "height,colour,kind,fever,cough"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Checkpoints of a file of one's own: of two classes, and of two independent labels."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "all.csv").write_text("\n".join([HEADER, *KINDS]))
    found = {}
    for name, target, ignored in (("KIND", "kind", "[fever,cough]"), ("LABELS", "[fever,cough]", "[kind]")):
        logger = "--trainer.logger.class_path pytorch_lightning.loggers.CSVLogger --trainer.logger.init_args.name"
        data = f"--data.target {target} --data.ignore {ignored} --trainer.max_epochs 1"
        paths = ["--data.source", f"{folder}/all.csv", "--trainer.logger.init_args.save_dir", str(folder)]
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            patch.setattr("torchbp.training.cli.run_page.write_page", lambda *_: None)
            assert main(["fit", *shlex.split(f"{data} {logger} {name} {SHORT}"), *paths]) == 0
        found[name] = str(folder / name / "version_0/checkpoints/last.ckpt")
    return found


def losses(text):
    words = " ".join(text.split())
    return [float(n) for n in re.search(r"The loss \S+ by \S+, from (\S+) to (\S+)\. ", words).groups()]


def test_xor_is_explained_whole_in_80_columns(run):
    status, out, err = run(XOR)
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "explain xor, all 4 rows. Inputs standardised. Random, untrained weights (seed 0)" in " ".join(out.split())
    stages = ["Given", "Forward", "Loss", "Backward", "Update", "Forward again", "What it did"]
    assert re.findall(r"^── (.*?) ─", out, re.MULTILINE) == stages
    assert "mean −" not in out  # every tensor is small enough to print whole
    before, after = losses(out)
    assert after < before


def test_weights_are_those_that_fit_would_begin_with(run, monkeypatch):
    seen = {}
    monkeypatch.setattr(command, "explain", lambda net, x, y, *_, **__: seen.update(net=net, x=x, y=y) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(f"{CANCER} --row 3 --seed_everything 5")
    data = TabularData("breast_cancer")
    torch.manual_seed(5)
    model = network(data, hidden=[16], lr=0.5)
    model.scaling.fit(data.rows("train")[0])
    for ours, theirs in zip(seen["net"].parameters(), model.net.parameters(), strict=True):
        assert torch.equal(ours, theirs.double())
    x, y = data.rows(torch.tensor([2]))
    torch.testing.assert_close(seen["x"].float(), model.scaling(x))
    assert torch.equal(seen["y"].float(), y)


def test_checkpoint_row_rate_and_files(run, checkpoint):
    status, out, err = run(f"{CANCER} --ckpt_path {quoted(checkpoint)} --row 17 --lr 0.25 --json e.json --html e.html")
    assert (status, err) == (0, "")
    assert (
        "breast_cancer, row 17: correct answer malignant (y = 0; y = 1 is benign). Inputs standardised. Trained weights"
        in " ".join(out.split())
    )
    assert "α = 0.25" in " ".join(out.split())
    assert out.endswith("wrote    e.json\nwrote    e.html\n")
    written = json.loads(Path("e.json").read_text())
    model = Network.load_from_checkpoint(checkpoint)
    data = TabularData("breast_cancer")
    x, y = data.rows(torch.tensor([16]))
    assert written["from"] == pytest.approx(model.task.criterion(model(x), y).item(), rel=1e-4)
    records = {record["name"]: record for record in written["records"]}
    assert records["dL/dW1"]["shape"] == [16, 30]
    loss = model.task.criterion(model(x), y)
    (gradient,) = torch.autograd.grad(loss, model.net[0].weight)
    torch.testing.assert_close(torch.tensor(records["dL/dW1"]["values"]), gradient, rtol=1e-3, atol=1e-6)
    assert records["dL/dW1"]["factors"][1]["name"] == "dZ1/dW1"
    assert Path("e.html").read_text().startswith("<!doctype html>")
    assert losses(out)[1] == pytest.approx(written["to"], rel=1e-3)


def test_a_terminal_without_our_signs(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(["explain", *shlex.split(XOR), "--layer", "2"]) == 0
    assert rb"learning rate \u03b1 = 1" in sys.stdout.buffer.getvalue()


def test_one_layer(run):
    _, out, _ = run(f"{XOR} --layer 2")
    equations = re.findall(r"^(\S+) = ", out, re.MULTILINE)
    first = ["Z2", "A2", "L", "dL/dA2", "dL/dZ2", "dL/dW2", "dL/db2"]
    assert equations == [*first, "W2′", "b2′", "Z2′", "A2′", "L′"]


def test_one_layer_is_printed_beside_the_files_too(run):
    _, printed, _ = run(f"{XOR} --layer 2")
    _, out, _ = run(f"{XOR} --layer 2 --json e.json")
    assert out == f"{printed}wrote    e.json\n"


def test_one_layer_comes_with_all_that_its_equations_take(run):
    """Every quantity on the right of an equation is printed, under Given or as the left of another one."""
    expected = {
        1: "X W1 b1 W2 dL/dZ2",
        2: "A1 W2 b2 W3 dL/dZ3 A1′",
        3: "A2 W3 b3 y A2′",
    }
    for layer, names in expected.items():
        _, out, _ = run(f"{XOR} --model.hidden [4,3] --layer {layer}")
        given, rest = out.split("── Forward", 1)
        assert re.findall(r"^(\S+) \(\d", given, re.MULTILINE) == names.split()
        equations = re.findall(r"^(\S+) = (.*(?:\n     .*)?)", rest, re.MULTILINE)
        lefts = {left for left, _ in equations}
        assert len(lefts) == len(equations) >= 11
        for left, right in equations:
            if left[0] != "L":  # of the whole network
                taken = set(re.findall(r"(?:dL/d)?[A-Z]\d′?|b\d′?|X|\by\b", right))
                assert taken <= lefts | set(names.split()), left


def test_row_of_a_file_with_names_and_texts(run):
    rows = [f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}" for i in range(30)]
    Path("mine.csv").write_text("\n".join(["size,colour,ripe", *rows]))
    status, out, err = run(f"--data.source mine.csv --data.target ripe --row 4 --model.class_weight balanced {SHORT}")
    assert (status, err) == (0, "")
    assert "explain  mine.csv, row 4: correct answer yes (y = 1). Inputs standardised." in out
    assert "3-16-1" in out
    assert "p y ln A2" in out


OWN = [  # the rows of a file, the command, its title, and y
    ([f"{HEADER}", KINDS[3]], "KIND --data.target kind", "row 1: correct answer b (y = 1)", [[1]]),
    ([f"{HEADER}", *KINDS[:4]], "KIND --data.target kind", "all 4 rows", [[0], [0], [0], [1]]),
    (["colour,height", "red,160", "blue,170"], "KIND --row 2 --y b", "row 2: correct answer by --y b (y = 1)", [[1]]),
    ([f"{HEADER}", KINDS[0]], "KIND --data.target kind --y b", "row 1: correct answer by --y b (y = 1)", [[1]]),
    ([f"{HEADER}", KINDS[3]], "LABELS", "row 1: correct answer fever, cough", [[1, 1]]),
    ([f"{HEADER}", "150,red,a,0,0"], "LABELS", "row 1: correct answer none", [[0, 0]]),
    (["height,colour", "160,red"], "LABELS --y cough", "row 1: correct answer by --y cough", [[0, 1]]),
    (["height,colour", "160,red"], "LABELS --y [fever,cough]", "row 1: correct answer by --y fever, cough", [[1, 1]]),
]


@pytest.mark.parametrize(("lines", "arguments", "title", "y"), OWN, ids=[title for _, _, title, _ in OWN])
def test_rows_of_any_file_go_through_a_trained_network(lines, arguments, title, y, run, own):
    """The file is not split, its labels are the network's classes, and its label may be missing."""
    Path("new.csv").write_text("\n".join(lines))
    name, _, more = arguments.partition(" ")
    status, out, err = run(f"--ckpt_path {quoted(own[name])} --data.source new.csv {more} --json e.json")
    assert (status, err) == (0, "")
    assert f"explain new.csv, {title}. Inputs standardised. Trained weights" in " ".join(out.split())
    written = json.loads(Path("e.json").read_text())
    assert written["given"]["y"]["values"] == y
    model = Network.load_from_checkpoint(own[name])
    frame = pd.read_csv("new.csv").iloc[1:] if "--row 2" in more else pd.read_csv("new.csv")
    answers = {record["name"]: record for record in written["records"]}["A2"]["values"]
    torch.testing.assert_close(torch.tensor(answers), model.predict_proba(frame))


def test_a_network_that_adam_trains_is_explained_by_gradient_descent(run):
    status, out, err = run("--data.source breast_cancer --row 2 --model.hidden [3]")
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert (
        "Inputs standardised, and clipped smoothly at ±4. Random, untrained weights (seed 0). The step is of" in words
    )
    assert "plain gradient descent, and not of adamw" in words
    assert "α = 0.004" in words


ANY = [  # the command, and what its text says
    ("--data.source digits", "row 1: correct answer 0", "A2 = exp(Z2)/(Σₖ exp(Z2))"),
    ("--data.source digits --y 7", "row 1: correct answer by --y 7", "L = −(1/N) Σ y ln A2"),
    ("--data.source diabetes", "row 1: correct answer 151. ", "y is scaled: (y − mean)/deviation of the training rows"),
    ("--data.source diabetes --y 100", "correct answer by --y 100", "MSELoss, mean; N = 1 row, K = 1 output"),
    ("--data.source breast_cancer --model.dropout 0.5", "Dropout's mask is drawn with seed 0", "B1 = A1 ∘ m1"),
    ("--data.source breast_cancer --model.norm layer", "linear, layer_norm, ", "U2 = (Z1 − μ2) ∘ r2"),
    ("--data.source breast_cancer --model.members 3 --member 2", "member 2 of 3", "L = −"),
    ("--data.source breast_cancer --model.lr [0.1,0.3] --member 2", "member 2 of 2", "learning rate α = 0.3"),
]


@pytest.mark.parametrize(("arguments", "title", "line"), ANY, ids=[arguments for arguments, *_ in ANY])
def test_any_network_that_can_be_trained_is_explained(arguments, title, line, run):
    status, out, err = run(f"{arguments} --model.hidden [3] --row 1")
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert title in words
    assert line in words
    assert re.search(r"Checks: (\d+) of \1 ok", words)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.usefixtures("without_page")
@pytest.mark.parametrize(("settings", "cls"), [("", "sgd"), ("--model.optimizer adamw --model.momentum 0", "adamw")])
def test_the_update_of_the_training(settings, cls, run):
    """From the checkpoint it is the step that torch's optimizer takes next; a new network remembers nothing."""
    data = f"{XOR} {settings} --model.lr 0.1 --model.weight_decay 0.01 --trainer.logger.init_args.save_dir ."
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["fit", *shlex.split(f"{data} --trainer.max_epochs 7")]) == 0
    run("--row 1")  # reads away what fit has printed
    command = f"{data} --ckpt_path xor/version_0/checkpoints/last.ckpt --descent trained --json e.json"
    status, out, err = run(command)
    assert (status, err) == (0, "")
    assert f"The step is of {cls}" in " ".join(out.split())
    content = torch.load("xor/version_0/checkpoints/last.ckpt", weights_only=True)
    model = Network.load_from_checkpoint("xor/version_0/checkpoints/last.ckpt").double()
    (state,) = content["optimizer_states"]
    optimizer = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[cls](model.net.parameters())
    optimizer.load_state_dict(state)
    x, y = TabularData("xor").rows(torch.arange(4))
    model.task.criterion(model(x.double()), y.double()).backward()
    optimizer.step()
    records = {record["name"]: record for record in json.loads(Path("e.json").read_text())["records"]}
    for name, parameter in zip(("W1′", "b1′", "W2′", "b2′"), model.net.parameters(), strict=True):
        torch.testing.assert_close(
            torch.tensor(records[name]["values"]).double(), parameter.detach(), rtol=1e-5, atol=1e-6
        )
    _, out, _ = run(f"{XOR} {settings} --descent trained --layer 1")
    assert f"The step is of {cls}, which remembers no step before it" in " ".join(out.split())


def test_without_arguments_it_explains_xor(run):
    plain = f"{XOR} --model.momentum 0"
    assert run("") == run(plain)
    assert run("--row 2 --layer 1") == run(f"{plain} --row 2 --layer 1")


def test_many_steps_are_the_first_a_line_for_each_and_the_last(run):
    status, out, err = run(f"{XOR} --steps 130 --json e.json --layer 2")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    heads = [" ".join(line.split()) for line in out.splitlines() if line.startswith("step")]
    assert heads == ["step 1 of 130", "step 130 of 130"]
    written = json.loads(Path("e.json").read_text())
    assert [step["step"] for step in written["steps"]] == list(range(1, 131))
    rows = re.findall(r"^ +(\d+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", out, re.MULTILINE)
    assert len(rows) == 100
    assert rows[0][0] == "1"
    assert rows[-1][0] == "130"
    for number, loss, *_ in rows:
        assert float(loss) == pytest.approx(written["steps"][int(number) - 1]["loss"], rel=1e-3)
    assert re.search(r"After step 130 L is (\S+)\. 100 of 130 steps are shown\.", out)
    assert written["steps"][0]["values"]["A2"]["values"] == written["records"][3]["values"]
    assert written["steps"][129]["loss"] < written["steps"][0]["loss"]


def test_large_tensors_are_in_json_if_they_are_asked_for(run):
    command = "--data.source digits --row 1 --model.hidden [200] --json e.json"
    sizes, contents = [], []
    for more in ("", " --json_all"):
        assert run(command + more)[0] == 0
        sizes.append(Path("e.json").stat().st_size)
        contents.append(json.loads(Path("e.json").read_text()))
    assert sizes[0] < sizes[1] / 4
    (few, most), name = contents, "W1"
    assert few["most"] == 10_000
    assert most["most"] is None
    weight = torch.tensor(most["given"][name]["values"])
    assert few["given"][name]["values"] is None
    assert few["given"][name]["shape"] == list(weight.shape) == [200, 64]
    for what, number in (("least", weight.min()), ("largest", weight.max()), ("mean", weight.mean())):
        assert few["given"][name][what] == pytest.approx(number.item(), rel=1e-4, abs=1e-6)


def test_a_batch_norm_of_one_row_is_refused_by_name(run):
    status, out, err = run("--data.source breast_cancer --model.norm batch --row 1")
    assert (status, out) == (2, "")
    assert re.fullmatch("torchbp: error: layer '1', a BatchNorm1d, does not take .*; training needs more than 1\n", err)


STRAY = [  # the rows of a file, the command, the status and the message
    (
        [f"{HEADER}", "150,red,z,0,0"],
        "KIND --data.target kind",
        1,
        "row 1 under the header, column 'kind' is 'z'; .* a, b",
    ),
    ([f"{HEADER}", "150,red,,0,0"], "KIND --data.target kind", 1, "column 'kind' is blank; the network knows a, b"),
    ([f"{HEADER}", "150,red,a,2,0"], "LABELS", 1, "column 'fever' is '2'; the network knows 0, 1"),
    (["height,colour", "160,red"], "KIND", 2, "has no label .column 'kind'., .*: add --y and one of a, b"),
    (
        ["height,colour", "160,red"],
        "KIND --data.target kind",
        2,
        r"no label \(column 'kind'\), .*add --y and one of a, b",
    ),
    (["height,colour", "160,red"], "LABELS", 2, r"no label \(column 'fever'\), .*add --y and those of fever, cough"),
    (["height,colour", "160,red"], "KIND --y z", 2, "--y z is not one of a, b"),
    (["height,colour", "160,red"], "KIND --y [a,b]", 2, r"--y .*a.*b.* is not one of a, b"),
    (["height,colour", "160,red"], "KIND --y a --row 2", 2, "--row 2: new.csv has the rows 1 to 1"),
    (["height", "160"], "KIND --y a", 1, "new.csv has no column 'colour'; the network needs height, colour"),
]


@pytest.mark.parametrize(("lines", "arguments", "status", "message"), STRAY, ids=[message for *_, message in STRAY])
def test_a_file_that_does_not_fit_the_network_is_one_line(lines, arguments, status, message, run, own):
    Path("new.csv").write_text("\n".join(lines))
    name, _, more = arguments.partition(" ")
    got, out, err = run(f"--ckpt_path {quoted(own[name])} --data.source new.csv {more}")
    assert (got, out) == (status, "")
    assert re.fullmatch(f"torchbp: error: .*{message}.*\n", err), err


def test_names_from_files_are_printed_escaped(run):
    """Of columns, of classes and of the file itself, whose name need not be UTF-8."""
    odd = "\x1b]0;PWN\x07"
    rows = "".join(f"{i / 2},{f'no{odd}' if i % 2 else 'x'}\n" for i in range(12))
    (path := Path(f"{odd}\udcff.csv")).write_text(f"a{odd},kind\n{rows}")
    command = f"--data.source {shlex.quote(str(path))} --data.target kind"
    for arguments, status in (
        ("--row 2 --html e.html --json e.json", 0),
        ("--row 99", 2),
        ("--y z", 2),
        (f"--html {shlex.quote(odd)}", 2),
    ):
        got, *printed = run(f"{command} {arguments}")
        assert got == status, printed
        written = [path.read_text(encoding="utf-8") for path in map(Path, ("e.html", "e.json")) if path.exists()]
        assert len(written) == 2
        assert all(line.isprintable() for text in (*printed, *written) for line in text.split("\n"))
        assert r"\x1b]0;PWN" in "".join(printed)
    assert json.loads(Path("e.json").read_text())["features"] == [f"a{odd}"]


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "holds nan or inf"), (1j, "holds complex numbers")])
def test_numbers_of_a_checkpoint_that_are_none_are_named(value, message, run, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["net.2.bias"] = torch.full((1,), value)
    torch.save(content, "odd.ckpt")
    status, out, err = run(f"{CANCER} --ckpt_path odd.ckpt")
    assert (status, out) == (1, "")
    assert re.fullmatch(f"torchbp: error: odd.ckpt: net.2.bias {message}.*\n", err)


def test_a_member_that_is_none_is_refused(run):
    sweep, ensemble = (f"{CANCER} -c {quoted(CONFIGS / name)}" for name in ("sweep.yaml", "ensemble.yaml"))
    for arguments, message in (
        (f"{sweep} --saturate", "--saturate changes one network, and these are several: add --member 1"),
        (f"{ensemble} --member 99", r"the member 99 is none: they are 1 to \d+"),
        (f"{CANCER} --member 1", "--member 1 is of many networks, and this is one; leave it out"),
    ):
        status, out, err = run(arguments)
        assert (status, out) == (2, "")
        assert re.fullmatch(f"torchbp: error: {message}\n", err), err
    for config in (sweep, ensemble):
        assert run(f"{config} --model.members null --model.lr 0.1")[0] == 0


@pytest.mark.parametrize(
    "arguments", ["--data.source breast_cancer --model.dropout 0.1", "--data.source digits", "--data.source diabetes"]
)
def test_networks_that_answer_together(arguments, run):
    """The mean of their answers stands first, then the step of one of them."""
    files = "--json e.json --html e.html --markdown e.md"
    status, out, err = run(f"{arguments} --row 7 --model.members 3 --model.hidden [3] {files}")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("── How 3 networks answer together ─")
    assert ("Ŷ = (1/E) Σ_e Ŷ_e" if "diabetes" in arguments else "P = (1/E) Σ_e P_e") in out
    content = json.loads(Path("e.json").read_text())
    ensemble, task = content["ensemble"], content["outputs"]
    each = torch.tensor([one["values"] for one in ensemble["members"]], dtype=torch.double)
    together = ensemble["together"]
    assert each.shape == (3, 1, len(task))
    torch.testing.assert_close(each.mean(0), torch.tensor(together["values"]).double())
    torch.testing.assert_close(each.std(0, correction=0), torch.tensor(together["spread"]["values"]).double())
    assert [one["share"] for one in ensemble["members"]] == [pytest.approx(1 / 3)] * 3
    assert together["loss"] < sum(one["loss"] for one in ensemble["members"]) / 3
    if "dropout" not in arguments:  # which is off where they answer together
        assert ensemble["members"][0]["loss"] == pytest.approx(content["from"])
    page, text = Path("e.html").read_text(), Path("e.md").read_text()
    assert "<summary>How 3 networks answer together</summary>" in page
    assert "## How 3 networks answer together" in text
    alone = run(f"{arguments} --row 7 --model.members 3 --model.hidden [3] --member 1 --json alone.json")[1]
    assert "together" not in alone
    assert "member 1 of 3" in " ".join(alone.split())
    assert json.loads(Path("alone.json").read_text())["from"] == content["from"]


def test_files_are_written_before_anything_is_printed_and_all_or_none(run, monkeypatch):
    write_text = Path.write_text

    def fails(path, *arguments, **settings):
        if ".html" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return write_text(path, *arguments, **settings)

    monkeypatch.setattr(Path, "write_text", fails)
    status, out, err = run(f"{XOR} --json e.json --html e.html")
    assert (status, out) == (1, "")
    assert err == "torchbp: error: e.html cannot be written: Permission denied\n"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("lr", ["1e160", "1e300", "1e308"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_step_out_of_all_bounds_is_explained_like_another(run, activation, lr):
    status, out, err = run(f"{XOR} --lr {lr} --model.hidden [4,4] --model.activation {activation}")
    assert (status, err) == (0, "")
    assert "OFF" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_zero_weights_stay_alike(run):
    _, out, _ = run(f"{XOR} --weights zero --row 2")
    assert "All 4 units of layer 1 have the same weights and get the same gradient" in " ".join(out.split())


def test_a_switch_may_be_given_a_value(run):
    assert run("--row 2 --layer 2 --saturate False")[1] == run("--row 2 --layer 2")[1]


def test_saturated_units_learn_only_in_the_logit_form(run):
    _, out, _ = run(f"{XOR} --saturate --row 2")
    out = " ".join(out.split())
    assert "dL/dZ2[1,1] = 4.248e−18 − 1 = −1" in out
    assert "All of A1 is saturated" in out
    assert "two factors of dL/dZ2[1,1] multiply to −4.248e−06, although the true derivative is −1. BCEWith" in out


def test_deep_sigmoid_stack_vanishes(run):
    _, out, _ = run(f"{XOR} --model.hidden [4,4,4,4,4,4] --layer 1")
    bars = [line.count("█") for line in out.splitlines() if "█" in line]
    assert len(bars) == 7
    assert bars == sorted(bars, reverse=True)
    assert "The gradient vanishes on its way back" in " ".join(out.split())


BAD = [
    (f"{CANCER} --row 570", 2, "--row 570: breast_cancer has the rows 1 to 569"),
    (f"{CANCER} --row 0", 2, "--row 0: breast_cancer has the rows"),
    (f"{XOR} --layer 3", 2, "no layer 3: the network has layers 1 to 2"),
    (f"{XOR} --lr -1", 2, "lr=-1.0 must be a positive number"),
    (f"{XOR} --lr much", 2, "lr=much"),
    (f"{XOR} --weights one", 2, "--weights one is not known; use zero"),
    (f"{XOR} --ckpt_path CHECKPOINT", 2, r"the checkpoint has hidden=\[16\], but this command has \[4\]"),
    ("--data.source xor --ckpt_path CHECKPOINT", 2, "was not trained on xor; name a file"),
    (f"{XOR} --seed_everything -1", 2, "seed_everything=-1 must lie between 0 and"),
    (f"{XOR} --html .", 2, "--html . must be a file that ends in .html"),
    (f"{CANCER} --ckpt_path CHECKPOINT --model.hidden [8]", 2, r"hidden=\[16\], but this command has \[8\]"),
    (f"{CANCER} --ckpt_path nowhere.ckpt", 1, "there is no checkpoint nowhere.ckpt"),
    (f"{XOR} --json e.txt", 2, "--json e.txt must be a file that ends in .json"),
    (f"{XOR} --html nowhere/e.html", 2, "there is no folder nowhere to write e.html to"),
    ("--data.source nowhere.csv --data.target y", 1, "nowhere.csv does not exist"),
    ("--data.batch_size 8", 2, "data.source is missing"),
    (f"{XOR} --descent adam", 2, "--descent adam is not known; use plain or trained"),
    (f"{XOR} --steps 0", 2, "steps=0 must be a whole number from 1 on"),
    ("--data.source diabetes --row 1 --y much", 2, "--y much must be a number"),
    ("--data.source diabetes --row 1 --saturate", 2, "--saturate makes a network sure of a wrong class"),
    (f"{XOR} --model.hiden [3]", 2, r"no key 'model.hiden'; did you mean model.hidden\?"),
    (f"{XOR} --rwo 3", 2, r"no key 'rwo'; did you mean row\?"),
    (f"{XOR} --descent trained --lr -1", 2, "lr=-1.0 must be a positive number"),
    (f"{XOR} --descent trained --lr .nan", 2, "lr=nan must be a positive number"),
    (f"{XOR} --json_all", 2, "--json_all is of the file that --json writes; add --json FILE"),
    ("--lesson xor --model.hidden [8]", 2, "--model.hidden does not go with --lesson, which has"),
    ("--lesson=xor --seed_everything=3", 2, "--seed_everything does not go with --lesson, which has"),
    (f"{XOR} --lesson xor", 2, "--config does not go with --lesson, which has"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input_is_one_line(arguments, status, message, run, checkpoint):
    got, out, err = run(arguments.replace("CHECKPOINT", quoted(checkpoint)))
    assert got == status
    assert out == ""
    assert re.fullmatch(f"torchbp: error: .*{message}.*\n", err), err
    assert list(Path().iterdir()) == []
