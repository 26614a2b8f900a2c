"""What an audit found: results, the report, and the exception."""

import json
from dataclasses import asdict, dataclass

from torch.autograd.gradcheck import GradcheckError

PASS, FAIL, UNSUPPORTED, SKIP = "PASS", "FAIL", "UNSUPPORTED", "SKIP"
COLOURS = {PASS: "green", FAIL: "bold red", UNSUPPORTED: "yellow", SKIP: "dim"}


@dataclass(frozen=True)
class Result:
    """The outcome of one check: PASS, FAIL, UNSUPPORTED (missing, and honestly refused) or SKIP, with a line on why."""

    check: str
    status: str
    message: str = ""
    details: tuple = ()  # further lines, for people
    seconds: float = 0.0

    def lines(self):
        first = f"{self.status:<11} {self.check:<13} {self.message}"
        return [first.rstrip(), *(f"    {line}" for line in self.details)]


@dataclass(frozen=True)
class Report:
    """The results of an audit, in the order in which the checks ran."""

    name: str
    results: list
    notes: tuple = ()
    seed: int = 0

    @property
    def failed(self):
        return [result for result in self.results if result.status == FAIL]

    def __getitem__(self, check):
        """The result of a check, by its name."""
        for result in self.results:
            if result.check == check:
                return result
        raise KeyError(check)

    def summary(self):
        counts = {status: sum(r.status == status for r in self.results) for status in COLOURS}
        words = ("passed", "failed", "unsupported", "skipped")
        said = [f"{counts[status]} {word}" for status, word in zip(COLOURS, words, strict=True) if counts[status]]
        return f"{self.name}: {', '.join(said) or 'nothing was checked'}"

    def ordered(self):
        """Failures last, where a terminal shows them."""
        return [r for r in self.results if r.status != FAIL] + self.failed

    def __str__(self):
        lines = [line for result in self.ordered() for line in result.lines()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), self.summary()])

    def to_json(self):
        content = {"name": self.name, "sound": not self.failed, "seed": self.seed, "notes": list(self.notes)}
        return json.dumps({**content, "results": [asdict(result) for result in self.results]}, indent=2)

    def __rich__(self):
        from rich.text import Text

        text = Text()
        for result in self.ordered():
            first, *rest = result.lines()
            text.append(result.status, COLOURS[result.status])
            text.append("\n".join([first.removeprefix(result.status), *rest]) + "\n")
        for note in self.notes:
            text.append(f"note: {note}\n", "dim")
        text.append(self.summary(), "bold red" if self.failed else "bold green")
        return text


class GradientError(GradcheckError):
    """The audit failed. `report` holds every result; the text is that of the failures."""

    def __init__(self, report):
        lines = [line for result in report.failed for line in result.lines()]
        super().__init__("\n".join([report.summary(), *lines]))
        self.report = report


class Outcome(Exception):
    """How a check ends early, with a message and further lines."""

    status = FAIL

    def __init__(self, message, details=()):
        super().__init__(message)
        self.message, self.details = message, tuple(details)


class Defect(Outcome):
    status = FAIL


class Unsupported(Outcome):
    status = UNSUPPORTED


class Skipped(Outcome):
    status = SKIP
