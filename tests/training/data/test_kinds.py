"""The kinds of columns, and their features: numbers as people write them, booleans, dates, categories, many texts."""

import collections

import numpy as np
import pandas as pd
import pytest

from tests.training.data.tables import features_of, kind_of, table
from torchbp.training.data.columns import check_columns, encode, feature_names, find_columns
from torchbp.training.data.columns.numbers import decimal_sign, read_numbers
from torchbp.training.errors import UserError

WRITTEN = {  # a text, and the number with "." and with "," as the decimal sign; None is no number
    "1": (1, 1), "-2.5": (-2.5, None), "1,000": (1000, 1), "1,5": (None, 1.5), "1,234.5": (1234.5, None),
    "1.234,5": (None, 1234.5), "1.234": (1.234, 1234), "1.234.567": (None, 1234567), "1 000": (1000, 1000),
    "1\xa0000": (1000, 1000), "1'000": (1000, 1000), "1_000": (1000, 1000), "12%": (0.12, 0.12),
    "12.5 %": (0.125, None), "5‰": (0.005, 0.005), "$5": (5, 5), "$1,000.50": (1000.5, None), "-$5": (-5, -5),
    "$-5": (-5, -5), "5 €": (5, 5), "€5": (5, 5), "USD 5": (5, 5), "5 usd": (5, 5), "(5)": (-5, -5),
    "(1,000)": (-1000, -1), "−5": (-5, -5), "1e3": (1000, 1000), ".5": (0.5, None), "+3": (3, 3),
    "1,00,000": (None, None),
    "tall": (None, None), "1,2,3": (None, None), "0,125": (None, 0.125), "0.125": (0.125, None),
    "-0,500": (None, -0.5), "012,500": (None, 12.5), "--5": (None, None), "(5": (None, None), "5)": (None, None),
    "1st": (None, None), "192.168.0.1": (None, None), "12:30": (None, None), "%": (None, None), "10+": (None, None),
}  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("decimal", [".", ","])
def test_numbers_as_people_write_them(text, decimal):
    values, missing = read_numbers(pd.Series([text, "7"]), decimal)
    expected = WRITTEN[text][decimal == ","]
    np.testing.assert_allclose(values, [np.nan if expected is None else expected, 7], rtol=1e-12)
    assert not missing.any()


@pytest.mark.parametrize(
    ("texts", "sign", "guessed"),
    [
        (["1,5", "2,75"], ",", False),
        (["1,500", "2,75"], ",", False),
        (["1,500", "0,125"], ",", False),
        (["1.234,5", "7"], ",", False),
        (["1.234.567"], ",", False),
        (["1,234.5", "1,000"], ".", False),
        (["1,000", "2,000"], ".", True),
        (["1,000,000"], ".", False),
        (["1.5", "2.25"], ".", False),
        (["$1,000.50"], ".", False),
    ],
)
def test_the_decimal_sign_is_found_from_the_whole_column(texts, sign, guessed):
    assert decimal_sign(pd.Series(texts)) == (sign, guessed)


def test_a_network_reads_new_numbers_as_those_of_its_training():
    found = ["1,5", "2,75", "3"]
    assert kind_of(found)["decimal"] == ","
    assert features_of(found, ["1.500", "1,500"])[:, 0].tolist() == [1500, 1.5]
    assert features_of(["1,500", "2,000"], decimal=",")[:, 0].tolist() == [1.5, 2]
    with pytest.raises(
        UserError, match=r"row 2 under the header, column 'a' is '1,5', no number with a decimal point; set data"
    ):
        features_of(["1.5", "2.75"], ["1.5", "1,5"])


def test_amounts_are_of_one_currency():
    assert kind_of(["$5", "$6.50", "7"])["currency"] == "$"
    with pytest.raises(UserError, match=r"'a' has amounts in .* and .*; convert them"):
        kind_of(["$5", "€6", "7"])
    with pytest.raises(UserError, match=r"amounts in €, and those of the training rows are in \$"):
        features_of(["$5", "$6"], ["5 €"])


@pytest.mark.parametrize("text", ["NA", "na", "N/A", "#N/A", "nan", "NaN", "NULL", "None", "?", "-", "--", ".", " ? ",
                                  "<NA>", "\\N", "#REF!", "", " ", None])  # fmt: skip
@pytest.mark.parametrize("values", [["1.5", "2", "3"], ["yes", "no", "no"], ["2020-01-05", "2020-02-06", "2021-01-01"]])
def test_missing_numbers_booleans_and_dates_are_nan_and_have_an_indicator(values, text):
    columns = find_columns(pd.DataFrame({"a": [*values, text]}))
    assert columns["a"]["missing"] == "indicator"
    assert feature_names(columns)[-1] == "a is missing"
    features = encode(pd.DataFrame({"a": [*values, text]}), columns)
    assert features[:, -1].tolist() == [0, 0, 0, 1]
    assert np.isnan(features[3, :-1]).all()
    assert not np.isnan(features[:3]).any()


def test_a_missing_category_is_in_no_category():
    values = ["x", "y", "NA", None, "y", "x", "None"]
    columns = find_columns(pd.DataFrame({"a": values}))
    assert columns["a"]["categories"] == ["None", "x", "y"]
    assert feature_names(columns) == ["a=None", "a=x", "a=y", "a is missing"]
    assert encode(pd.DataFrame({"a": values}), columns)[2:4].tolist() == [[0, 0, 0, 1]] * 2


def test_other_spellings_of_a_missing_value():
    assert kind_of(["x", "y", "NA"], na_values=[])["categories"] == ["NA", "x", "y"]
    frame = pd.DataFrame({"a": [1.0, 999, 3], "b": ["x", "none", "x"], "c": ["5", "none", "6"]})
    columns = find_columns(frame, na_values=["999", "none"])
    assert {name: kind["na"] for name, kind in columns.items()} == {name: ["999", "none"] for name in "abc"}
    assert encode(frame, columns)[1, [1, 3, 5]].tolist() == [1, 1, 1]


def test_a_missing_value_that_is_refused():
    with pytest.raises(UserError, match=r"row 2 under the header, column 'a' is blank; fill it"):
        features_of([1.0, None, 3], missing="refuse")
    with pytest.raises(UserError, match=r"row 2 under the header, column 'a' is 'NA', a missing value"):
        features_of(["x", "NA", "y"], missing="refuse")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False, True], "boolean"),
        (["TRUE", "FALSE", "TRUE"], "boolean"),
        (["yes", "No ", " yes"], "boolean"),
        (["Y", "n", "y"], "boolean"),
        ([0, 1, 0], "number"),
        (["male", "female", "male"], "category"),
        (["5", "1", "True"], "number"),
    ],
    ids=str,
)
def test_booleans(values, kind):
    assert kind_of(values)["kind"] == kind
    if kind == "boolean":
        assert features_of(values)[:, 0].tolist() == [
            str(value).strip().lower() in ("true", "yes", "y") for value in values
        ]


def test_true_among_numbers_is_a_misprint():
    with pytest.raises(UserError, match=r"column 'a' is 'True', no number; name the text in data.na_values if"):
        features_of(["5", "1", "True"])
    with pytest.raises(UserError, match="column 'a' is 'maybe'; the network knows no and yes"):
        features_of(["yes", "no"], ["maybe"])


DATES = {
    "ISO8601": ["2020-01-05", "2021-11-25", "2020-02-28T12:30:00"],
    "%d/%m/%Y": ["25/12/2020", "01/02/2020"],
    "%m/%d/%Y": ["12/25/2020", "01/02/2020"],
    "%d.%m.%Y": ["25.12.2020", "01.02.2020"],
    "%d %b %Y": ["25 Dec 2020", "1 Feb 2021"],
    "%B %d, %Y": ["December 25, 2020", "January 1, 2021"],
    "%m/%d/%Y %H:%M": ["12/25/2020 13:45", "01/02/2020 00:10"],
    "%H:%M": ["12:30", "09:15"],
}


@pytest.mark.parametrize("form", DATES)
def test_dates_are_found_and_become_parts_of_periods(form):
    kind = kind_of(DATES[form])
    assert (kind["kind"], kind["format"]) == ("date", form)
    times = pd.to_datetime(pd.Series(DATES[form]), format=form)
    days = features_of(DATES[form])[:, 0]
    np.testing.assert_allclose(days, ((times - times.min()) / pd.Timedelta(days=1)).to_numpy(), atol=1e-3)
    with pytest.raises(UserError, match="is 'soon', which is no date as the training rows have it"):
        features_of(DATES[form], ["soon"])


def test_parts_of_a_date():
    monday, period = pd.Timestamp("2024-01-01"), 7
    days = pd.Series(pd.date_range(monday, periods=15))
    columns = find_columns(pd.DataFrame({"a": days}))
    assert feature_names(columns) == ["a: days", "a: sin(week)", "a: cos(week)"]
    features = encode(pd.DataFrame({"a": days}), columns)
    np.testing.assert_allclose(features[:, 1], np.sin(2 * np.pi * np.arange(15) / period), atol=1e-5)
    np.testing.assert_allclose(features[:, 2], np.cos(2 * np.pi * np.arange(15) / period), atol=1e-5)
    assert kind_of(pd.date_range(monday, periods=30, freq="31D"))["parts"] == ["year", "week"]
    assert kind_of(pd.date_range(monday, periods=5, freq="h"))["parts"] == ["day"]
    assert kind_of(pd.date_range(monday, periods=9).date)["parts"] == ["week"]
    zones = pd.Series(pd.date_range(monday, periods=5, tz="Europe/Paris"))
    assert features_of(zones, zones.astype(str))[:, 0].tolist() == features_of(zones)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert features_of(pd.Series(pd.to_timedelta([36, 48], unit="h")))[:, 0].tolist() == [0, 0.5]


@pytest.mark.parametrize("text", ["1st class", "192.168.0.1", "2020-01-05", "12:30", "3-5", "A 100", "10+", "1,2,3"])
def test_texts_with_digits_are_categories(text):
    assert kind_of([text, "other"] * 10)["categories"] == sorted([text, "other"])


def test_categories_have_one_spelling():
    assert kind_of(["1", "1.0", " 1 ", "2"], categorical=["a"])["categories"] == ["1", "2"]
    assert kind_of([1.0, 2.0, None], categorical=["a"])["categories"] == ["1", "2"]
    assert kind_of([10, 9, 100], categorical=["a"])["categories"] == ["9", "10", "100"]
    assert kind_of(["007", "7", "x"], categorical=["a"])["categories"] == ["007", "7", "x"]
    found = ["yes ", "maybe", "yes", "maybe"]
    assert kind_of(found)["categories"] == ["maybe", "yes"]
    assert features_of(found, ["yes  "]).tolist() == [[0, 1]]
    assert features_of([1, 2, 2, 1], ["1.0", "2"], categorical=["a"]).tolist() == [[1, 0], [0, 1]]


def test_a_pandas_category_of_numbers_is_a_category():
    column = pd.Series([3, 1, 3, 1]).astype("category")
    assert kind_of(column)["categories"] == ["1", "3"]
    assert features_of(column, [1, 3]).tolist() == [[1, 0], [0, 1]]


def test_a_new_category_is_other_and_is_counted():
    strange = collections.Counter()
    columns = find_columns(pd.DataFrame({"a": ["x", "y"] * 5, "b": range(10)}))
    new = pd.DataFrame({"a": ["x", "z", "z", None], "b": [1, None, 2, 3]})
    features = encode(new, columns, strange=strange)
    assert features[:, :2].tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]
    assert strange == {("a", "z"): 2, ("a", None): 1, ("b", None): 1}


def test_rare_categories_are_one():
    columns = find_columns(pd.DataFrame({"a": ["x"] * 5 + ["y"] * 4 + list("abc")}))
    assert feature_names(columns) == ["a=x", "a=y", "a=(other)"]
    assert encode(pd.DataFrame({"a": ["y", "b", "new"]}), columns).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    columns = find_columns(pd.DataFrame({"a": ["x"] * 5 + ["y"] * 4 + ["z"] * 3}), max_categories=2)
    assert feature_names(columns) == ["a=x", "a=y", "a=(other)"]


def test_the_words_of_many_texts_are_hashed():
    texts = [f"part {i} of engine {i % 3}" for i in range(50)]
    assert kind_of(texts, max_categories=10) == {"kind": "words", "buckets": 64, "missing": "impute"}
    features = features_of(texts, [*texts[:2], "engine engine", "Engine, engine!", None], max_categories=10)
    assert features.shape == (5, 64)
    assert features.sum(1).tolist() == [5, 5, 2, 2, 0]
    assert (features[2] == features[3]).all()
    assert features[2].max() == 2


@pytest.mark.parametrize("values", [[[1], [2, 3]], [{"u": 1}, {"u": 2}], [b"x", b"y"], [1j, 2j]], ids=str)
def test_other_values_are_refused(values):
    with pytest.raises(
        UserError, match=r"column 'a' holds .*, neither numbers, texts nor dates; add it to data.ignore"
    ):
        kind_of(values)


@pytest.mark.parametrize("value", ["inf", "1e39", "-1e300"])
def test_numbers_that_are_no_float32(value):
    with pytest.raises(UserError, match=r"row 3 under the header, column 'a' is .*, not a finite float32"):
        features_of([1.0, 2.0, float(value)])


def test_a_frame_without_a_column():
    columns = find_columns(table()[["height", "code"]])
    with pytest.raises(UserError, match="the frame has no column 'code'; the network needs height, code"):
        encode(table()[["height"]], columns)


def test_columns_of_a_checkpoint_are_checked():
    frame = table().assign(day=pd.date_range("2020-01-01", periods=60), smokes=["yes", "no"] * 30)
    columns = find_columns(frame, max_categories=20)
    assert {kind["kind"] for kind in columns.values()} == {"number", "category", "words", "date", "boolean"}
    check_columns(columns)
    for name, key, value in (
        ("height", "kind", "text"),
        ("height", "missing", None),
        ("height", "na", [1]),
        ("colour", "categories", ["red", "red"]),
        ("colour", "categories", None),
        ("note", "buckets", -1),
        ("day", "parts", ["moon"]),
        ("smokes", "words", ["yes"]),
        ("smokes", "code", "import os"),
    ):
        with pytest.raises(ValueError, match=f"its column '{name}' is of no known kind"):
            check_columns({**columns, name: {**columns[name], key: value}})
