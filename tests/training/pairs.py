"""The command in other processes: one, or two that are one run. They come from a process that has imported it."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.commands import without_pictures
from torchbp.cli import main


def run_here(folder, arguments, environment, name):
    """The command, as the whole of this process; what it prints goes to NAME.out and NAME.err in the folder."""
    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = ["torchbp"]
    with open(f"{name}.out", "w") as out, open(f"{name}.err", "w") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
    with without_pictures():
        status = main(arguments)
    if status:
        sys.exit(status)


def of_torchrun(folder, arguments):
    """One of the processes that torchrun's agent starts."""
    run_here(folder, arguments, {}, os.environ["RANK"])


def torchrun_here(folder, arguments):
    """torchrun with two processes, as the whole of this one: without its interpreters, which take seconds to start."""
    settings = {"nproc_per_node": 2, "max_restarts": 0, "monitor_interval": 0.05, "start_method": "fork"}
    meeting = {"rdzv_backend": "static", "rdzv_endpoint": f"127.0.0.1:{free_port()}", "rdzv_configs": {"rank": 0}}
    config = LaunchConfig(min_nodes=1, max_nodes=1, run_id="test", **settings, **meeting)
    elastic_launch(config, of_torchrun)(folder, arguments)


def free_port():
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Pair:
    """Two processes of one run, with the environment that torchrun gives them."""

    def __init__(self, context, arguments):
        same = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip
        self.folder = Path.cwd()
        self.processes = []
        for rank in range(2):
            environment = {name: str(value) for name, value in {**same, "RANK": rank, "LOCAL_RANK": rank}.items()}
            (self.folder / f"{rank}.err").unlink(missing_ok=True)
            self.processes.append(
                context.Process(target=run_here, args=(self.folder, arguments, environment, str(rank)))
            )
        for process in self.processes:
            process.start()

    def has_ended(self):
        return any(process.exitcode is not None for process in self.processes)

    def text(self, rank, stream):
        path = self.folder / f"{rank}.{stream}"
        return path.read_text() if path.exists() else ""

    def join(self):
        """The exit status of both."""
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]
