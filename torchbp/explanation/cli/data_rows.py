"""The rows that are explained, from the training data or from any file that has the network's columns."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from torchbp.training.data.columns import canonical_texts, encode
from torchbp.training.data.columns.encoding import place
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.reading.files import File
from torchbp.training.data.table import text_columns
from torchbp.training.errors import SettingError, UserError

FEW = 8  # a source of so many rows is explained whole
NAMED = 10  # so many classes are named in a message


class Rows:
    """Rows of a source, by their places from 0.

    Args:
        source: a bundled set, or the path of a file or several. They are not split, and may be one row.
        target: its label column, which may be missing where `y` is given.
        row: which one, from 1; None is all of a small source, and otherwise the first.
        y: the class, or the classes, of each row; None takes its label.
        model: which features and classes there are.
        reading: how a text file is written.
    """

    def __init__(self, source, target, row, y, model, reading):
        sources = source if isinstance(source, list) else [source]
        self.source, self.y, self.columns = ", ".join(sources), y, model.named_columns()
        self.classes, self.binary = list(model.hparams.classes), model.task.name == "binary"
        self.multilabel, self.numbers = model.task.name == "multilabel", not model.task.has_classes
        self.of_classes = model.task.name == "multiclass"
        if self.source in BUNDLED:
            self.frame, labels, _ = BUNDLED[self.source]()
            self.labels, self.absent = labels.to_frame("label"), []
        else:
            files = [File(one, reading, text_columns(self.columns), list(self.columns)) for one in sources]
            self.frame = pd.concat([file.read() for file in files], ignore_index=True)
            of_names = self.multilabel or self.numbers
            targets = self.classes if of_names else target if isinstance(target, list) else [target]
            self.absent = [name for name in targets if name not in self.frame]
            self.labels = self.frame[[name for name in targets if name in self.frame]]
        self.places = self.chosen(row)
        frame, first = self.frame.iloc[self.places], self.places[0] + 1
        raw = encode(frame, self.columns, self.source, first)
        self.x = torch.from_numpy(raw)  # float32, (N, features), unscaled
        self.truths = self.truths_of_y() if y is not None else self.labelled()

    def chosen(self, row):
        count = len(self.frame)
        if row is None and count <= FEW:
            return list(range(count))
        row = 1 if row is None else row
        if not 1 <= row <= count:
            raise SettingError(f"--row {row}: {self.source} has the rows 1 to {count}")
        return [row - 1]

    def truths_of_y(self):
        """The classes of each row, or the numbers, as --y says."""
        named = self.y if isinstance(self.y, list) else [self.y]
        if self.numbers:
            try:
                numbers = [float(text) for text in named]
            except ValueError:
                numbers = []
            if len(numbers) != len(self.classes) or not all(map(math.isfinite, numbers)):
                count = len(self.classes)
                raise SettingError(f"--y {self.y} must be {f'{count} numbers' if count > 1 else 'a number'}")
            return [numbers] * len(self.places)
        if not set(named) <= set(self.classes) or (len(named) != 1 and not self.multilabel):
            raise SettingError(f"--y {self.y} is not {'some' if self.multilabel else 'one'} of {self.known()}")
        return [named] * len(self.places)

    def labelled(self):
        """The classes of each row, by its labels."""
        if self.absent:
            which = f" (column {self.absent[0]!r})" if self.absent[0] else ""
            raise SettingError(
                f"{self.source} has no label{which}, and the loss compares the answer with it: add --y and "
                + ("its number" if self.numbers else f"{'those' if self.multilabel else 'one'} of {self.known()}")
                + ("" if which else ", or --data.target COLUMN")
            )
        if self.numbers:
            return self.labelled_with_numbers()
        known = ["0", "1"] if self.multilabel else self.classes
        columns = [canonical_texts(self.labels[name]).iloc[self.places] for name in self.labels]
        for column in columns:
            strange = ~column.isin(known).to_numpy()
            for value in column[strange]:
                where = f"{self.source}: {place(column.name, strange, self.places[0] + 1)} is"
                blank = column[strange].isna().iloc[0]
                raise UserError(f"{where} {'blank' if blank else repr(value)}; the network knows {self.known(known)}")
        if self.multilabel:
            return [[column.name for column in columns if column.iloc[i] == "1"] for i in range(len(self.places))]
        return [[label] for label in columns[0]]

    def labelled_with_numbers(self):
        columns = []
        for name in self.labels:
            column = pd.to_numeric(self.labels[name].iloc[self.places], errors="coerce").astype(float)
            strange = ~np.isfinite(column.to_numpy())
            if strange.any():
                value = self.labels[name].iloc[self.places][strange].iloc[0]
                where = place(name, strange, self.places[0] + 1)
                raise UserError(f"{self.source}: {where} is {value!r}, and the network predicts numbers")
            columns.append(column.tolist())
        return [list(row) for row in zip(*columns, strict=True)]

    def known(self, names=None):
        names = self.classes if names is None else names
        return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")

    def answers(self):
        """y as the task takes it: the class of each row, (N), or (N, outputs) of zeros and ones or of numbers."""
        if self.of_classes:
            return torch.tensor([self.classes.index(truth[0]) for truth in self.truths])
        if self.numbers:
            return torch.tensor(self.truths, dtype=torch.float64)
        rows = [[float(name in truth) for name in self.outputs] for truth in self.truths]
        return torch.tensor(rows, dtype=torch.float64)

    @property
    def outputs(self):
        """What each output is: of classes, what it is the probability of; otherwise the number that it predicts."""
        return self.classes[1:] if self.binary else self.classes

    def title(self):
        """Which rows they are, and what the network should answer."""
        count, name = len(self.frame), Path(self.source).name
        if len(self.places) > 1:
            return f"{name}, all {count} rows" + (f", with --y {self.y}" if self.y is not None else "")
        (truth,) = self.truths
        truth = [f"{number:.6g}" for number in truth] if self.numbers else truth
        answer = f"correct answer {'by --y ' if self.y is not None else ''}{', '.join(truth) or 'none'}"
        if self.binary and self.classes != ["0", "1"]:
            value = self.classes.index(truth[0])
            answer += f" (y = {value}{f'; y = 1 is {self.classes[1]}' if not value else ''})"
        return f"{name}, row {self.places[0] + 1}: {answer}"
