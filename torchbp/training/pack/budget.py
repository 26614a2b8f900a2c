"""How long a pack is trained: until so many networks are there, or until a time is used."""

import re
import time

from torchbp.training.errors import SettingError

UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds_of(text):
    """The seconds of a time as `90s`, `2m` or `1h30m`, or of a number of seconds.

    Raises:
        SettingError: another text, such as 1h30, or no time.
    """
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", budget_words(text))
    numbers = [int(part or 0) for part in parts.groups()] if parts else [0]
    seconds = sum(number * size for number, size in zip(numbers, UNITS.values(), strict=False))
    if not seconds:
        raise SettingError(f"budget={text!r} must be a time, such as 90s, 2m or 1h30m")
    return seconds


def budget_words(text):
    """The budget as it was given, with its unit."""
    text = str(text).strip()
    return f"{text}s" if text.isdigit() else text


class Budget:
    """Whether a process goes on with another draw.

    Args:
        wanted: how many draws all processes train, where no time is given.
        seconds: of the whole run, or None.
        durations: seconds that each draw of a run that is resumed has taken.
        processes: that train at the same time.
        cuts: {number: seconds} of draws that have taken so many without an end, and were lost.
    """

    def __init__(self, wanted, seconds=None, durations=(), processes=1, cuts=None):
        self.wanted, self.durations, self.cuts = wanted, list(durations), cuts or {}
        self.begin = time.monotonic() - sum(self.durations) / processes
        self.end = None if seconds is None else self.begin + seconds

    @property
    def done(self):
        """Whether there is a draw already; a run has at least one."""
        return bool(self.durations)

    def has_room(self, number):
        """Whether the draw of this number can be trained, if it takes as long as those before it, or, where it was cut
        by the end of a smaller budget, as long as it has taken then."""
        if self.end is None:
            return number < self.wanted
        if not self.done:
            return True
        expected = max(sum(self.durations) / len(self.durations), self.cuts.get(number, 0))
        return time.monotonic() + expected <= self.end

    def is_over(self, share=1):
        """Whether the time is used, or, in the first draw, this share of it: all configurations of that have some."""
        if self.end is None:
            return False
        return time.monotonic() > (self.end if self.done else self.begin + share * (self.end - self.begin))

    def took(self, seconds):
        """Note what a draw has taken."""
        self.durations.append(seconds)

    def ends(self):
        """When the time is used, in words; "" without one, or if it is."""
        if self.end is None or self.is_over():
            return ""
        return f"until {time.strftime('%H:%M:%S', time.localtime(time.time() + self.end - time.monotonic()))}"
