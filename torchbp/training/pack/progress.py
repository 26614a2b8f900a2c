"""What is printed while a pack is trained, its networks and the best score so far: a bar on a terminal, or lines."""

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class PackProgress:
    """A context. total: networks, or None. ends: when the training ends, in words."""

    def __init__(self, total, ends, shown=True):
        self.total, self.ends, self.shown, self.bar = total, ends, shown, None

    def __enter__(self):
        console = Console(stderr=True)
        if self.shown and console.is_terminal:
            counted = [TextColumn("networks {task.completed:.0f}")]
            if self.total:
                counted = [TextColumn("networks"), MofNCompleteColumn(), BarColumn(bar_width=12)]
            self.bar = Progress(*counted, TimeElapsedColumn(), TextColumn("{task.fields[text]}"), console=console)
            self.task = self.bar.add_task("", total=self.total, text=self.ends)
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()

    def show(self, count, loss, chosen):
        """So many networks are there, and those chosen among them, so many, have this loss together."""
        text = f"val/loss {loss:.4f} of {chosen} together"
        if self.bar is not None:
            self.bar.update(self.task, completed=count, text=f"{text}  {self.ends}")
        elif self.shown:
            of = f" of {self.total}" if self.total else ""
            print(f"networks {count}{of}  {text}{'  ' * bool(self.ends)}{self.ends}", file=sys.stderr)
