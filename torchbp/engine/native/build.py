"""A C compiler, and a folder of what it has made: nothing is loaded that was not made of this text, for this CPU."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

FLAGS = "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fwrapv"
# of GCC 12: -O3 makes products of matrices 2.5 times faster, and members side by side 2.5 times slower
OF_MATRICES, OF_LANES = ("-O3",), ("-O2", "-fvect-cost-model=dynamic")
FUNCTIONS = Path(__file__).with_name("functions.h")
OWN_ONLY = stat.S_IRWXU
LARGEST_FOLDER = 2**28  # bytes of the libraries that are left in the folder when another one is made


class CannotBuild(RuntimeError):
    """Why there is no program: a sentence."""


@functools.cache
def compiler():
    """The command of the C compiler, $CC or cc, gcc or clang, and what it says of its version and of this CPU.

    Raises:
        CannotBuild: there is none.
    """
    for text in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        try:
            name, *options = shlex.split(text) or [""]
        except ValueError as error:
            raise CannotBuild(f"CC={text!r} is no command: {error}") from None
        program = shutil.which(name) if name else None
        if program is None:
            continue
        command = [program, *options]
        made_for = subprocess.run([*command, FLAGS[0], "-dM", "-E", "-x", "c", os.devnull], capture_output=True)
        if made_for.returncode == 0:
            return command, made_for.stdout
    raise CannotBuild("there is no C compiler on the PATH; install gcc or clang")


def vector_bytes():
    """How many bytes the widest vectors of this CPU have, 16 where the compiler does not say."""
    macros = compiler()[1]
    return 64 if b"__AVX512F__" in macros else 32 if b"__AVX__" in macros else 16


def cache_folder():
    """$TORCHBP_CACHE_DIR, or torchbp in the user's folder for caches: of this user, and not for others to write in.

    Raises:
        CannotBuild: it is not, or cannot be made.
    """
    base = os.environ.get("TORCHBP_CACHE_DIR")
    try:
        folder = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchbp"
    except RuntimeError:
        raise CannotBuild("the user has no folder for caches; name one in TORCHBP_CACHE_DIR") from None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=OWN_ONLY)
        found = folder.stat()
    except OSError as error:
        raise CannotBuild(f"the folder of compiled programs {folder} cannot be made: {error.strerror}") from None
    if of_others(found):
        raise CannotBuild(
            f"the folder of compiled programs {folder} may be written to by others; remove it, or name another one in "
            "TORCHBP_CACHE_DIR"
        )
    return folder


def load(text, flags):
    """The library of this C, from the folder of those that were made, or made now.

    Raises:
        CannotBuild: there is no compiler, or it fails, or no folder that a library can be kept in and loaded from.
    """
    command, made_for = compiler()
    of_cpu = [flag for flag in ("-mprefer-vector-width=512",) if vector_bytes() == 64]
    of_compiler = [flag for flag in flags if b"__clang__" not in made_for or not flag.startswith("-fvect")]
    flags = [*of_compiler, *FLAGS, *of_cpu]
    source = FUNCTIONS.read_text() + text
    key = hashlib.sha256("\0".join([source, *command, *flags, platform.machine()]).encode() + made_for).hexdigest()
    folder = cache_folder()
    library, digest = folder / f"{key}.so", folder / f"{key}.sha256"
    try:
        if is_intact(library, digest):
            os.utime(library)  # it is used now
        else:
            make(source, [*command, *flags], library, digest)
            remove_oldest(folder)
        return ctypes.CDLL(str(library))
    except OSError as error:  # of a full disk, or a folder of which nothing may be executed
        why = error.strerror or error
        raise CannotBuild(
            f"{folder} is no place for a library ({why}); name another one in TORCHBP_CACHE_DIR"
        ) from None


def is_intact(library, digest):
    try:
        if any(of_others(path.stat()) for path in (library, digest)):
            return False
        return hashlib.sha256(library.read_bytes()).hexdigest() == digest.read_text()
    except OSError:
        return False


def of_others(found):
    """Whether a file or folder is somebody else's, or others may write to it."""
    return hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def remove_oldest(folder):
    """Remove the libraries that were used longest ago, until the others take LARGEST_FOLDER bytes at most."""
    found = []
    for path in folder.glob("*.so"):
        with contextlib.suppress(OSError):  # another process has removed it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > LARGEST_FOLDER:
            for of_library in (path, path.with_suffix(".sha256")):
                of_library.unlink(missing_ok=True)


def make(source, command, library, digest):
    """Compile, and put the library into its place once it is whole: two processes may do so at once."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / "program.so"
        arguments = [*command, "-x", "c", "-", "-o", str(made), "-lm"]
        done = subprocess.run(arguments, input=source, capture_output=True, text=True)
        if done.returncode:
            raise CannotBuild(f"{command[0]} failed: {done.stderr.strip()[:2000]}")
        of_made = Path(folder) / "digest"
        of_made.write_text(hashlib.sha256(made.read_bytes()).hexdigest())
        for path in (made, of_made):
            path.chmod(OWN_ONLY)
        os.replace(of_made, digest)
        os.replace(made, library)
