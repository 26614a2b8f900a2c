"""Whether torch.compile can build here."""

import os
import tempfile
from pathlib import Path

import torch


def cannot_compile():
    """Why torch.compile cannot build here, and what would help; "" if nothing is known to be in its way."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler, and finds none on the PATH; install g++"
    paths = str(Path(torch.__file__).parent), tempfile.gettempdir(), os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    for path in paths:
        if " " in path:
            return f"torch.compile takes no path with a space, and builds with {path}; move that folder"
    return ""
