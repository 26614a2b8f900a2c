"""JAX in a separate process, since JAX counts its threads once, when it starts. This module does not import JAX."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

MISSING = "JAX is not installed: pip install 'torchbp[bench]'"


def installed():
    return importlib.util.find_spec("jax") is not None


def records(tasks, threads, seconds, device, records_of):
    """Of each task, label: arguments, and number of threads, `records_of(threads, label, times)`; and notes."""
    if not installed():
        yield {"note": MISSING}
        return
    yield {"note": f"JAX {importlib.metadata.version('jax')} is in a process of its own, beside the same peer"}
    try:
        for number in threads:
            for label, times in zip(tasks, measured(list(tasks.values()), number, seconds, device), strict=False):
                yield from records_of(number, label, times)
    except JAXError as error:
        yield {"note": str(error)}


def measured(tasks, threads, seconds, device):
    """For each task its (name: times), of JAX's variants and of the peer beside which they ran; see `jax_peers`.

    Raises:
        JAXError: the process failed; its last line says why.
    """
    arguments = json.dumps({"tasks": tasks, "threads": threads, "seconds": seconds, "device": device})
    settings = {"NPROC": str(threads), "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": device}
    settings["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # of a GPU's memory, where torch's peer is too
    command = [sys.executable, "-m", "torchbp.benchmarks.helpers.jax.jax_peers", arguments]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=os.environ | settings
        ) as process,
    ):
        try:
            yield from map(json.loads, process.stdout)
        finally:
            process.kill()
        if process.wait():
            complaints.seek(0)
            raise JAXError(f"JAX stopped: {(complaints.read().strip().splitlines() or ['no reason given'])[-1]}")


class JAXError(Exception):
    """One line."""
