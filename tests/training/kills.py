"""`fit` in a process of its own, which is killed at a moment that the test says."""

import contextlib
import os
import signal
import sys

import torch

from torchbp.cli import main
from torchbp.training.cli import run_page


def fit_here(folder, arguments, save=0, replace=0):
    """`fit` in a process of its own, which is killed in the middle of the checkpoint number `save` that it writes, or
    before it puts number `replace` in its place. The first are last.ckpt, best.ckpt, last.ckpt; of a pack last.ckpt,
    best.ckpt, and the draw."""
    written, write, put = [], torch.save, os.replace

    def half(checkpoint, file):
        written.append(file)
        write(checkpoint, file)
        if len(written) == save:
            file.flush()
            os.truncate(file.fileno(), os.path.getsize(file.fileno()) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def never(source, target):
        if len(written) == replace:
            os.kill(os.getpid(), signal.SIGKILL)
        put(source, target)

    torch.set_num_threads(1)
    torch.save, os.replace, sys.argv = half, never, ["torchbp"]
    run_page.write_page = run_page.write_pack_page = lambda *_: None
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        sys.exit(main(arguments))


def killed_in_writing(processes, arguments, **which):
    process = processes.Process(target=fit_here, args=(os.getcwd(), arguments), kwargs=which)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
