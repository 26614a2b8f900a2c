"""The settings that say which table it is, and how it is read and split; see `TabularData` for each of them."""

from dataclasses import dataclass
from typing import Any

from torchbp.training.data.columns.texts import NA_VALUES
from torchbp.training.data.reading.bundled import BUNDLED
from torchbp.training.data.reading.text_files import Reading
from torchbp.training.errors import SettingError

ONE_COLUMN = "id", "weight", "group", "time"  # settings that name a column


def source_words(source):
    """A source in messages: its files, one after the other."""
    sources = source if isinstance(source, list | tuple) else [source]
    return ", ".join("the frame" if hasattr(one, "shape") else str(one) for one in sources)


@dataclass(frozen=True)
class TableSettings:
    source: Any
    target: Any = None
    task: str | None = None
    id: str | None = None
    ignore: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    weight: str | None = None
    missing: str = "median"
    max_categories: int = 100
    val_source: Any = None
    test_source: Any = None
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    group: str | None = None
    time: str | None = None
    folds: int | None = None
    fold: int | None = None
    seed: int = 0
    on_disk: bool = False
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    na_values: tuple[str, ...] = NA_VALUES

    @property
    def reading(self):
        return Reading(self.sep, self.decimal, self.encoding, self.header, tuple(self.na_values))

    @property
    def name(self):
        """The source in messages."""
        return source_words(self.source)

    @property
    def targets(self):
        return [self.target] if isinstance(self.target, str) else list(self.target or ())

    @property
    def is_bundled(self):
        return isinstance(self.source, str) and self.source in BUNDLED

    def columns_named(self):
        """{setting: names of the columns that it names}."""
        single = {name: [value] if (value := getattr(self, name)) else [] for name in ONE_COLUMN}
        several = {name: list(getattr(self, name)) for name in ("ignore", "features", "categorical")}
        return {"target": self.targets, **single, **several}

    def check(self):
        """Raise a SettingError for a value that cannot be used, whatever the table."""
        self.reading.check()
        if self.missing not in ("median", "refuse"):
            raise SettingError(f"data.missing={self.missing!r} must be median or refuse")
        if self.max_categories < 1:
            raise SettingError(f"data.max_categories={self.max_categories} must be at least 1")
        if not 0 < self.val_fraction < 1:
            raise SettingError(f"data.val_fraction={self.val_fraction} must lie between 0 and 1")
        if not 0 <= self.test_fraction < 1:
            raise SettingError(
                f"data.test_fraction={self.test_fraction} must lie between 0 and 1; 0 draws no test rows"
            )
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"data.seed={self.seed} must lie between 0 and 2³² − 1")
        test = 0 if self.test_source is not None or self.folds else self.test_fraction
        if self.val_source is None and self.val_fraction + test >= 1:
            raise SettingError(
                f"data.val_fraction={self.val_fraction} and data.test_fraction={test} leave no row to train on"
            )
        self._check_folds()
        self._check_bundled()

    def _check_folds(self):
        if self.folds is None:
            if self.fold is not None:
                raise SettingError(f"data.fold={self.fold} needs data.folds, the number of parts")
            return
        if self.folds < 2:
            raise SettingError(f"data.folds={self.folds} must be at least 2")
        if self.fold is None:
            raise SettingError(f"data.folds={self.folds} needs data.fold, the part with the test rows; fit takes each")
        if not 1 <= self.fold <= self.folds:
            raise SettingError(f"data.fold={self.fold} must lie between 1 and data.folds={self.folds}")
        for name in ("time", "test_source"):
            if getattr(self, name) is not None:
                raise SettingError(f"data.folds draws the test rows, and so does data.{name}; leave one of them out")
        if self.is_bundled and self.source == "xor":
            raise SettingError("data.folds: xor has four rows, and each split has them all; leave it out")

    def _check_bundled(self):
        if not self.is_bundled:
            if isinstance(self.source, str) and not self.source:
                raise SettingError(f"data.source is empty; give a file, or one of {', '.join(BUNDLED)}")
            return
        given = {
            **self.columns_named(),
            "task": self.task,
            "val_source": self.val_source,
            "test_source": self.test_source,
        }
        for name in given:
            if value := getattr(self, name):
                raise SettingError(
                    f"data.{name}={value}: {self.source} has fixed columns, labels and splits; leave it out"
                )
