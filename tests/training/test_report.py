"""The report of a run: what stands in the page, that it needs nothing else, and how a browser shows it."""

import importlib
import io
import os
import re
import shutil
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix, roc_auc_score

from tests.pages import Page, contrast
from torchbp.training.report import write_report
from torchbp.training.report.figures import COLOURS, curve_style, svg
from torchbp.training.report.page import report_style
from torchbp.training.report.plots import MOST_POINTS, gradient_plots, learning_plots, thin
from torchbp.training.tasks import make_task

NASTY = "<script>alert(1)</script> $x_1$ & \"q\" 'a'"


CASES = {
    "two classes": {"classes": ["malignant", "benign"]},
    "twenty long names": {"classes": [f"a_rather_long_class_name_{i}" * 3 for i in range(20)], "title": "w" * 200},
    "labels": {"classes": ["a_rather_long_label" * 5, "$b$"], "multilabel": True, "config": "long: " + "x" * 500},
}


def history_of(epochs, layers=2):
    rng = np.random.default_rng(0)
    names = ["train/loss", "val/loss", "val/accuracy", *(f"sample_gradient/{q}" for q in ("p05", "p50", "p95", "max"))]
    for layer in range(1, layers + 1):
        names += [f"{quantity}/{layer}" for quantity in ("dz_rms", "dw_rms", "dw_to_w")]
    names += [f"saturated/{layer}" for layer in range(1, layers)]
    return pd.DataFrame({"epoch": range(epochs), **{name: rng.random(epochs) for name in names}})


def task_of(classes, multilabel):
    return make_task("multilabel" if multilabel else "multiclass" if len(classes) > 2 else "binary", classes)


def run_of(classes, rows=200, multilabel=False, **other):
    rng = np.random.default_rng(1)
    outputs = 1 if len(classes) == 2 and not multilabel else len(classes)
    probabilities = rng.random((rows, outputs))
    truth = (rng.random((rows, outputs)) < 0.3 + 0.4 * probabilities).astype(np.float32)
    if len(classes) > 2 and not multilabel:
        truth = np.eye(len(classes))[(probabilities + rng.random(probabilities.shape)).argmax(axis=1)]
    hardest = [
        {"row": 7, "split": "train", "label": str(classes[0]), "predicted": "b", "probability": 0.75, "norm": 12.5}
    ]
    return {
        "title": "a run",
        "summary": [("data", "200 rows")],
        "history": history_of(30),
        "activation": "sigmoid",
        "task": task_of(classes, multilabel),
        "truth": truth,
        "answers": probabilities,
        "hardest": hardest,
        "config": "model:\n  lr: 0.5\n",
        "versions": {"torch": "2.13"},
        **other,
    }


@pytest.fixture(scope="module")
def of_two_classes(tmp_path_factory):
    """The folder of the report of two classes, whose pictures take a second."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, **run_of(CASES["two classes"]["classes"]))
    return folder


@pytest.fixture
def drawn(tmp_path, of_two_classes):
    def report(classes, **settings):
        if (classes, settings) == (CASES["two classes"]["classes"], {}):
            shutil.copytree(of_two_classes, tmp_path, dirs_exist_ok=True)
        else:
            write_report(tmp_path, **run_of(classes, **settings))
        text = (tmp_path / "report.html").read_text()
        check_self_contained(text)
        return Page(text)

    return report


@pytest.fixture
def page_alone(drawn, monkeypatch):
    """The page with its drawings, and files without."""
    monkeypatch.setattr("torchbp.training.report.figures.png", lambda plots: b"")
    return drawn


@pytest.fixture
def report(drawn, undrawn):
    return drawn


def check_self_contained(text):
    assert not re.search(r"https?:|//[a-z]|@import|javascript:|<!ENTITY|<!--", text)
    assert text.startswith("<!doctype html>")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    page = Page(text)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "image", "foreignobject"}
        assert not [name for name in attributes if name == "src" or name.startswith("on")]
        links = [attributes[name] for name in ("href", "xlink:href") if name in attributes]
        assert all(link[1:] in ids for link in links)
        assert all(used in ids for used in re.findall(r"url\(#([^)]+)\)", attributes.get("clip-path") or ""))
    pictures = [a for tag, a in page.tags if tag == "svg" and a["class"] == "plot"]
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables == sum(tag == "caption" for tag, _ in page.tags)
    assert all(a.get("scope") in {"col", "row", "colgroup"} for tag, a in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags


def plots_in(page):
    return [a["aria-label"].split(".")[0] for tag, a in page.tags if a.get("class") == "plot"]


def test_folder_holds_the_page_and_two_pictures(drawn, tmp_path):
    page = drawn(["malignant", "benign"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "gradients.png", "report.html"]
    for name in ("curves.png", "gradients.png"):
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content.endswith(b"IEND\xaeB`\x82")
        assert 600 < int.from_bytes(content[16:20]) < 2000
    assert len(plots_in(page)) == 10
    assert "lr: 0.5" in page.text
    assert "either hard or mislabelled" in page.text
    hardest = page.tables["The rows with the largest gradients"]
    assert hardest[1] == ["7", "train", "malignant", "b", "0.750", "12.5"]


def test_same_run_gives_the_same_bytes(drawn, tmp_path):
    drawn(["malignant", "benign"])
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_report(tmp_path, **run_of(["malignant", "benign"]))
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_failed_write_leaves_the_old_page_alone(report, tmp_path, monkeypatch):
    report(["ill", "well"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path, **run_of(["other", "names"]))
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("multilabel", [False, True])
def test_names_are_only_text(page_alone, multilabel):
    names = [f"{NASTY} {i} 字" for i in range(3)]
    page = page_alone(
        names, multilabel=multilabel, title=NASTY, summary=[(NASTY, NASTY)], config=NASTY, versions={NASTY: NASTY}
    )
    for name in names:
        # the legend of the ROC, the caption of a label or the head and the side of the matrix, a hardest row
        assert page.text.count(name) >= 2
    assert page.text.count(NASTY) >= 7 + 3 * 2


@pytest.mark.parametrize("outputs", [1, 4])
def test_confusion_matrix_and_roc_are_those_of_sklearn(report, outputs):
    classes = ["no", "yes"] if outputs == 1 else list("abcd")
    page, run = report(classes), run_of(classes)
    truth, probabilities = run["truth"], run["answers"]
    answers = (truth[:, 0], probabilities[:, 0] >= 0.5) if outputs == 1 else (truth.argmax(1), probabilities.argmax(1))
    expected = confusion_matrix(*answers)
    rows = page.tables["Confusion matrix of the validation rows"][2:]
    assert [row[0] for row in rows] == classes
    assert [[int(n) for n in row[1:-1]] for row in rows] == expected.tolist()
    assert [row[-1] for row in rows] == [f"{expected[i, i] / expected[i].sum():.1%}" for i in range(len(classes))]
    for i, name in enumerate(classes[-outputs:]):
        assert f"{name}: AUC {roc_auc_score(truth[:, i], probabilities[:, i]):.3f}" in page.text


def test_words_follow_the_activation_and_the_labels():
    for activation, has in (
        ("sigmoid", ["Saturated units", "sigmoid units", "f′ < 0.01"]),
        ("tanh", ["Saturated units", "tanh units", "f′ < 0.04"]),
        ("relu", ["Dead units", "relu units", "f′ < 0.04 for each"]),
    ):
        plots = gradient_plots(history_of(3), activation)
        text = " ".join(plot.title + plot.caption for plot in plots)
        assert all(words in text for words in has)
        assert all(other not in text for other in {"sigmoid", "tanh", "relu"} - {activation})
    for multilabel in (False, True):
        text = " ".join(plot.caption for plot in learning_plots(history_of(3), task_of(["a", "b"], multilabel)))
        assert ("share of the most frequent class" in text) != multilabel


def test_each_label_has_a_table_of_its_own(report):
    labels = ["red", "round"]  # two labels are no two classes: each has an output
    page, run = report(labels, multilabel=True), run_of(labels, multilabel=True)
    expected = multilabel_confusion_matrix(run["truth"], run["answers"] >= 0.5)
    for name, ((tn, fp), (fn, tp)) in zip(labels, expected.tolist(), strict=True):
        assert [row[1:] for row in page.tables[name][1:]] == [[f"TP {tp}", f"FN {fn}"], [f"FP {fp}", f"TN {tn}"]]


def test_many_classes_are_the_most_confused_pairs(report):
    classes = [f"class {i}" for i in range(21)]
    page, run = report(classes, rows=2000), run_of(classes, rows=2000)
    counts = confusion_matrix(run["truth"].argmax(1), run["answers"].argmax(1))
    errors = np.sort((counts - np.diag(np.diag(counts))).ravel())[::-1]
    rows = page.tables["Most confused classes"][1:]
    assert [int(row[2]) for row in rows] == errors[:10].tolist()
    for actual, predicted, n, _ in rows:
        assert counts[classes.index(actual), classes.index(predicted)] == int(n)
    assert "21 classes are too many for a matrix" in page.text
    assert "10 smallest of 21 areas" in page.text


def test_many_labels_are_those_with_the_most_errors(report):
    labels = [f"label {i}" for i in range(21)]
    page, run = report(labels, multilabel=True), run_of(labels, multilabel=True)
    errors = (run["truth"] != (run["answers"] >= 0.5)).sum(axis=0)
    shown = [errors[labels.index(name)] for name in page.tables if name in labels]
    assert shown == np.sort(errors)[::-1][:10].tolist()
    assert "21 labels are too many to show" in page.text


def test_output_of_one_kind_has_no_curve(report):
    run = run_of(list("abc"), multilabel=True)
    truth = run["truth"] * [1, 0, 1]
    page = report(list("abc"), multilabel=True, truth=truth)
    assert "1 of 3 outputs" in page.text
    assert "b: AUC" not in page.text
    assert "ROC of the validation rows" not in report(["a", "b"], truth=np.ones((200, 1)), multilabel=False).text


def test_without_validation_rows(report):
    page = report(["a", "b"], truth=None, answers=None, hardest=[])
    assert "There were no validation rows." in page.text
    assert "No gradient of a single row was recorded." in page.text
    assert page.tables == {}


def test_diverged_run(report):
    history = history_of(3)
    history.loc[1:, "train/loss"] = [np.inf, np.nan]
    page = report(["a", "b"], history=history, answers=np.full((200, 1), np.nan))
    assert "the run has diverged" in page.text
    assert f"training: {history['train/loss'][0]:.3g}" in page.text


@pytest.mark.parametrize("history", [history_of(0), pd.DataFrame({"epoch": [0, 1], "val/loss": [np.nan, np.nan]})])
def test_without_curves_there_is_no_picture(report, tmp_path, history):
    page = report(["a", "b"], history=history)
    assert plots_in(page) == ["ROC of the validation rows", "Precision and recall", "Calibration"]
    assert "No epoch was completed" in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_single_epoch_is_seen_as_a_marker():
    drawing = svg(learning_plots(history_of(1), task_of(["a", "b"], False))[0])
    for i in range(2):
        assert re.search(rf"<use [^>]*fill: {curve_style(i)[0]}", drawing)


def test_missing_values_are_bridged_and_zeros_have_no_logarithm(report):
    history = history_of(6)
    history.loc[::2, "val/loss"] = np.nan
    history["dz_rms/1"], history["dz_rms/2"] = [0.0] * 6, [0.0, 1, 2, 0, 3, 1e-30]
    (_, validation), accuracy = (plot.curves for plot in learning_plots(history, task_of(["a", "b"], False)))
    assert validation.x.tolist() == [2, 4, 6]
    assert len(accuracy) == 1
    flow = next(a for _, a in report(["a", "b"], history=history).tags if "flow" in a.get("aria-label", ""))
    assert flow["aria-label"].endswith(". layer 2: 1e-30")


def test_deep_networks_show_the_first_and_the_last_layer(report):
    text = report(["a", "b"], history=history_of(5, layers=40)).text
    assert len(set(re.findall(r"layer \d+(?=:)", text))) <= 20
    assert "layer 1: " in text
    assert "layer 40: " in text


def test_many_epochs_are_thinned_to_a_small_page(page_alone, tmp_path):
    page_alone(["a", "b"], history=history_of(10_000, layers=4))
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_thinning_keeps_the_ends_and_the_spikes():
    y = np.random.default_rng(0).random(10_000)
    y[1234], y[7777] = 50, -50
    x, kept = thin(np.arange(10_000), y)
    assert len(kept) <= MOST_POINTS + 2
    assert {0, 1234, 7777, 9999} <= set(x.tolist())
    assert np.array_equal(y[x], kept)
    assert (np.diff(x) > 0).all()


def test_colours_are_legible_on_both_backgrounds():
    light, dark = re.findall(r"--text: (#\w+); --muted: (#\w+); .*--back: (#\w+); --card: (#\w+);", report_style())
    for text, muted, *backgrounds in (light, dark):
        for background in backgrounds:
            assert min(contrast(text, background), contrast(muted, background)) >= 4.5
            assert min(contrast(colour, background) for colour in COLOURS) >= 3
    assert len({curve_style(i) for i in range(25)}) == 25


def first_import_here(folder):
    """Import the report where matplotlib has no list of fonts, as the whole of this process."""
    os.environ["MPLCONFIGDIR"], timer = str(folder), threading.Timer
    os.dup2(os.open(folder / "err", os.O_CREAT | os.O_WRONLY), 2)
    threading.Timer = lambda seconds, *rest: timer(0, *rest)  # matplotlib waits five seconds before it speaks
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "torchbp.training.report"))]:
        del sys.modules[name]  # torchmetrics has imported it
    importlib.import_module("torchbp.training.report")


def test_first_import_does_not_announce_a_font_cache(tmp_path, processes):
    process = processes.Process(target=first_import_here, args=(tmp_path,))
    process.start()
    process.join()
    assert (process.exitcode, (tmp_path / "err").read_text()) == (0, "")
    assert list(tmp_path.glob("fontlist*"))


@pytest.mark.parametrize("case", [*list(CASES)[:2], pytest.param("labels", marks=pytest.mark.exhaustive)])
def test_browser_shows_the_page_at_any_width(browser, page_alone, tmp_path, case):
    page_alone(**CASES[case])
    left_edges = "[...document.querySelectorAll('figure')].map((f) => Math.round(f.getBoundingClientRect().left))"
    for width, columns in ((400, 1), (1280, 3)):
        browser.open(tmp_path / "report.html", width, scrollbars=False)
        assert browser.console == []
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.evaluate(f"new Set({left_edges}).size") == columns


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_browser_draws_it_dark_or_light(browser, drawn, tmp_path, scheme):
    drawn(["malignant", "benign"])
    browser.open(tmp_path / "report.html", scheme=scheme)
    assert browser.console == []
    pixels = imread(io.BytesIO(browser.screenshot(whole=False)))[..., :3]
    assert pixels.shape == (900, 1280, 3)
    assert (pixels.mean() < 0.3) if scheme == "dark" else (pixels.mean() > 0.8)
    assert pixels.std() > 0.02
