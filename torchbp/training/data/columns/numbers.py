"""Numbers as people write them: 1,234.5 or 1.234,5, 12%, $5, (5), 1 000."""

import re

import numpy as np
import pandas as pd

from torchbp.training.data.columns.texts import NA_VALUES, is_missing, is_number

CURRENCIES = "[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR"
BETWEEN = r"\s\xa0\u202f'’_"  # between thousands, whatever the decimal sign
WRITTEN = (
    r"(?P<open>\()?(?P<sign>[+\-−])?\s?(?P<before>CUR)?\s?(?P<sign2>[+\-−])?(?P<digits>[\d.,BETWEEN]*\d[\d.,]*"
    r"(?:E[+\-]?\d+)?)\s?(?P<after>[%‰]|CUR)?\)?"
).replace("CUR", CURRENCIES).replace("BETWEEN", BETWEEN)  # fmt: skip
SHARES = {"%": 100.0, "‰": 1000.0}


def read_numbers(column, decimal=".", na_values=NA_VALUES):
    """The numbers of a column, float64 `(N,)`, nan for what is no number; and the mask of missing values.

    A text may have a sign of percent (12% is 0.12) or of a currency, brackets for a negative number, and thousands. In
    `1.234,5` the `decimal` sign is the comma; the other one of the two then stands between thousands. Thousands do not
    begin with a zero: 0,125 is no number where the decimal sign is the point.
    """
    missing = is_missing(column, na_values, number=True)
    if is_number(column):
        return np.where(missing, np.nan, column.to_numpy(np.float64, na_value=np.nan)), missing
    codes, words = pd.factorize(column.astype("string"))  # each text is read once; an empty cell has the code −1
    words = pd.Series(words, dtype="string").str.strip().str.upper()
    plain = pd.to_numeric(words, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if decimal == ",":  # 1.500 is 1500
        plain[words.str.contains(".", regex=False).to_numpy(bool)] = np.nan
    unread = np.isnan(plain) & ~words.isin({"", "NAN"}).to_numpy(bool)
    plain[unread] = [_read(word, decimal) for word in words[unread]]
    return np.where(missing, np.nan, np.append(plain, np.nan)[codes]), missing


def _read(text, decimal):
    match = re.fullmatch(WRITTEN, text)
    if not match or (match["sign"] and match["sign2"]) or bool(match["open"]) != text.endswith(")"):
        return np.nan
    thousands = "," if decimal == "." else r"\."
    body = re.fullmatch(
        rf"([1-9]\d{{0,2}}(?:[{thousands}{BETWEEN}]\d{{3}})+|\d*)(?:{re.escape(decimal)}(\d*))?(E[+\-]?\d+)?",
        match["digits"],
    )
    if not body or not (body[1] or body[2]):
        return np.nan
    value = float(f"{re.sub(r'[^0-9]', '', body[1]) or '0'}.{body[2] or '0'}{body[3] or ''}")
    negative = match["open"] or "-" in (match["sign"], match["sign2"]) or "−" in (match["sign"], match["sign2"])
    return (-value if negative else value) / SHARES.get(match["after"], 1.0)


def decimal_sign(column):
    """The decimal sign of a column, "." or ","; and whether nothing but a guess says so, as in 1,000."""
    if is_number(column):
        return ".", False
    digits = [match["digits"] for match in _written(column) if "," in match["digits"] or match["digits"].count(".") > 1]
    comma = any(text.rfind(",") > text.rfind(".") > -1 for text in digits)  # 1.234,5
    comma |= any(
        "." not in text and not re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", text) for text in digits
    )  # 1,5 or 0,125
    comma |= any(text.count(".") > 1 for text in digits)  # 1.234.567
    point = any("." in text[text.rfind(",") :] for text in digits if "," in text)  # 1,234.5
    guessed = bool(digits) and not comma and not point and not any(text.count(",") > 1 for text in digits)
    return ("," if comma else "."), guessed


def currencies(column):
    """The signs of currencies in a column of texts."""
    signs = {sign for match in _written(column) for sign in (match["before"], match["after"]) if sign}
    return sorted(signs - SHARES.keys())


def _written(column):
    """The matches of the texts of a column that are written as numbers."""
    words = column.dropna().astype("string").str.strip().str.upper().unique()
    return [match for match in map(re.compile(WRITTEN).fullmatch, words) if match]


def are_mostly_numbers(column):
    """Whether at least half of a column without missing values are numbers; the others are misprints then."""
    if is_number(column):
        return True
    counts = column.astype("string").value_counts()
    sign, _ = decimal_sign(column)
    values, _ = read_numbers(counts.index.to_series(), sign)
    return bool(counts[~np.isnan(values)].sum() * 2 >= counts.sum() > 0)
