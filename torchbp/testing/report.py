"""What an audit found: the results, the report, and how a check ends early. It needs no torch."""

import html
import json
import re
import signal
import textwrap
from dataclasses import asdict, dataclass

from torchbp.printing import printable

PASS, FAIL, UNSUPPORTED, SKIP = "PASS", "FAIL", "UNSUPPORTED", "SKIP"
# Causes that several checks find, each in its own words
WRONG_GRADIENT = "the gradient is wrong"
WRONG_SECOND_DERIVATIVE = "the second derivative is wrong"
ROUNDED = "the backward computes in lower precision"
REPEATED_INDEX = "where an index repeats, the gradient is wrong"
WRITTEN_INTO = "the backward writes into the incoming gradient"
COLOURS = {PASS: "green", FAIL: "bold red", UNSUPPORTED: "yellow", SKIP: "dim"}
_HTML = {PASS: "green", FAIL: "firebrick", UNSUPPORTED: "darkgoldenrod", SKIP: "gray"}
_SHORTENED = (  # messages of torch that take three lines of a terminal, and shorter ones
    (r"In order to use an autograd\.Function with functorch transforms.*?(?=; to add it|$)", "it has no setup_context"),
    (r" \(You must implement the jvp function .*?\)(?=; to add it|$)", ""),
)


@dataclass(frozen=True, repr=False)
class Result:
    """The outcome of one check, with a line on why.

    PASS: no defect was found; FAIL: a defect; UNSUPPORTED: the code raises an error that says so, or torch drops its
    backward, as torch.compile does; SKIP: the check does not apply.
    """

    check: str
    status: str
    message: str = ""
    details: tuple = ()  # further lines, for people
    seconds: float = 0.0
    cause: str = ""  # of a failure: two failures with one cause are one defect

    def lines(self) -> list[str]:
        first = f"{self.status:<11} {self.check:<13} {self.message}"
        return [printable(line, keep="\n") for line in (first.rstrip(), *(f"    {line}" for line in self.details))]

    def __repr__(self):
        return "\n".join(self.lines())


@dataclass(frozen=True, repr=False)
class Report:
    """The results of an audit, in the order in which the checks ran."""

    name: str
    results: list
    notes: tuple = ()
    seed: int = 0

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.status == FAIL]

    @property
    def sound(self) -> bool:
        """No check failed, and not every one was skipped: an audit of nothing is no success."""
        return not self.failed and any(result.status != SKIP for result in self.results)

    def __bool__(self) -> bool:
        return self.sound

    def __getitem__(self, check: str) -> Result:
        """The result of a check, by its name."""
        for result in self.results:
            if result.check == check:
                return result
        raise KeyError(check)

    def summary(self) -> str:
        counts = {status: sum(r.status == status for r in self.results) for status in COLOURS}
        words = ("passed", "failed", "unsupported", "skipped")
        parts = [f"{counts[status]} {word}" for status, word in zip(COLOURS, words, strict=True) if counts[status]]
        nothing = [] if self.sound or self.failed else ["nothing was compared"]
        return f"{printable(self.name)}: {', '.join(parts + nothing)}"

    def ordered(self) -> list[Result]:
        """Failures last, where a terminal shows them."""
        return [r for r in self.results if r.status != FAIL] + self.failed

    def __repr__(self):
        """The text: it is what a notebook and an interactive Python show."""
        lines = [line for result in self.ordered() for line in result.lines()]
        return "\n".join([*lines, *(f"note: {note}" for note in map(printable, self.notes)), self.summary()])

    def to_json(self) -> str:
        content = {"name": self.name, "sound": self.sound, "seed": self.seed, "notes": list(self.notes)}
        return json.dumps({**content, "results": [asdict(result) for result in self.results]}, indent=2)

    def _repr_html_(self) -> str:
        """For notebooks: the text, each result in the colour of its status."""
        rows = [("\n".join(result.lines()), _HTML[result.status]) for result in self.ordered()]
        rows += [(f"note: {printable(note)}", "gray") for note in self.notes]
        rows.append((self.summary(), _HTML[PASS if self.sound else FAIL]))
        lines = "\n".join(f'<span style="color:{colour}">{html.escape(text)}</span>' for text, colour in rows)
        return f"<pre>{lines}</pre>"

    def __rich_console__(self, console, options):
        """The lines of the text in colours; what is too long for one goes on below the check's name."""
        from rich.text import Text

        def text(line, style, length=None, indent="  "):
            text = Text(textwrap.fill(line, options.max_width, subsequent_indent=indent))
            text.stylize(style, 0, length)
            return text

        for result in self.ordered():
            first, *rest = result.lines()
            yield text(first, COLOURS[result.status], len(result.status), " " * 12)
            for line in rest:
                yield text(line, "", indent=" " * (len(line) - len(line.lstrip()) + 2))
        for note in self.notes:
            yield text(f"note: {printable(note)}", "dim")
        yield text(self.summary(), "bold green" if self.sound else "bold red")


class CannotRun(ValueError):
    """The function raises at the given inputs, so there is nothing to audit."""


class Outcome(Exception):
    """How a check ends early, with a message and further lines."""

    status = FAIL

    def __init__(self, message, details=(), cause=""):
        super().__init__(message)
        self.message, self.details, self.cause = message, tuple(details), cause


class Defect(Outcome):
    """A failure. `cause` is that of `Result`: an error with its text, or one of those above."""

    status = FAIL

    def within(self, words, details=()):
        """The same defect, with words before its message, and further lines."""
        return Defect(f"{words}{self.message}", (*self.details, *details), self.cause)


class Unsupported(Outcome):
    status = UNSUPPORTED

    def __init__(self, message, details=()):
        for long, short in _SHORTENED:
            message = re.sub(long, short, message)
        super().__init__(message, details)


class Skipped(Outcome):
    status = SKIP


def exit_words(code):
    """How a process ended, by its exit code; negative ones are signals."""
    if code is not None and code < 0:
        return f"crashes with {signal.Signals(-code).name}"
    return f"exits with status {code}"
