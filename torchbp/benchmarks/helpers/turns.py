"""Variants that each have a process of their own, and take turns: what else the machine does, it does to all."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# how many threads a process may start, by the libraries that read it when they are loaded
VARIABLES = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"


def in_turns(module, arguments, seconds, threads):
    """The seconds of each variant, and its ratio to the first: the medians over the turns, {name: {"s", "ratio"}}.

    Args:
        module: a program that prints a line once it is ready, and {name: seconds} for each line that it reads.
        arguments: of each variant, for `module`; they are passed as JSON.
        seconds: how long the turns take at least; each variant has one or more.
        threads: of each process.

    Returns:
        What was found, and a list of a line for each variant that stopped.
    """
    turns, stopped = [], []
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_Process(module, of, threads)) for of in arguments]
        processes = [process for process in processes if process.answer(stopped) is not None]
        until = time.perf_counter() + seconds
        while processes and (not turns or time.perf_counter() < until):
            place = len(turns) % len(processes)
            turn = {}
            for process in processes[place:] + processes[:place]:
                turn |= process.ask(stopped) or {}
            turns.append(turn)
            processes = [process for process in processes if not process.has_stopped]
    names = dict.fromkeys(name for turn in turns for name in turn)
    ordered = [turn for turn in turns if turn]
    first = next(iter(ordered[0])) if ordered else None
    found = {}
    for name in names:
        pairs = [(turn[name], turn[first]) for turn in ordered if name in turn and first in turn]
        found[name] = {
            "s": statistics.median(mine for mine, _ in pairs),
            "ratio": statistics.median(mine / peer for mine, peer in pairs),
        }
    return found, stopped


class _Process:
    """A variant's process, which ends with the context."""

    def __init__(self, module, arguments, threads):
        self.name, self.has_stopped = arguments["variant"], False
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it is closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            env=os.environ | dict.fromkeys(VARIABLES, str(threads)),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.complaints.close()

    def ask(self, stopped):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` says why
        return self.answer(stopped)

    def answer(self, stopped):
        """What the process prints next. Where it has stopped, None, and a line for `stopped`."""
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.complaints.seek(0)
        why = (self.complaints.read().strip().splitlines() or ["no reason given"])[-1]
        stopped.append(f"{self.name} stopped: {why}")
        self.has_stopped = True
        return None
