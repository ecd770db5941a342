"""The kernels of gather.c as a shared library: found, else compiled in a fraction of a second, and kept.

Nobody has to have a compiler: where there is none, `load_library` says so and the caller goes on in torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tracker.study.errors import TrackerError
from tracker.study.home import replacing

SOURCE = Path(__file__).with_name("gather.c")
FLAGS = ("-O3", "-std=c11", "-ffp-contract=off", "-fPIC", "-shared")
"""For any processor of this kind, since a home folder may be shared by several; no fused multiply-add, which
rounds otherwise than torch."""
OPENMP = "-fopenmp"
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 60.0
CACHE_VARIABLE = "TRACKER_CACHE_DIR"
"""Where compiled code is kept, if not in the user's cache folder."""


class KernelUnavailable(TrackerError):
    """The compiled kernels cannot be had here; the message is the reason."""


class Batch(ctypes.Structure):
    """`Batch` of gather.c."""

    _fields_ = (
        ("bytes", ctypes.c_void_p),
        ("images", ctypes.c_int64),
        ("planes", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("order", ctypes.c_void_p),
        ("top", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("flip", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("padding", ctypes.c_int64),
        ("channels", ctypes.c_int64),
    )


def cache_folder() -> Path:
    """Return the folder for compiled code: this user's own.

    Not the home folder, which may have come from somebody else, with any file in it.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "norm-tracker"
    except RuntimeError as error:  # a user id without a home directory, as in a container
        raise KernelUnavailable(
            "there is no home directory to keep compiled code in", f"set {CACHE_VARIABLE}"
        ) from error


def library_name() -> str:
    """Return the file's name: another source, system or processor family has another."""
    content = SOURCE.read_bytes() + repr(FLAGS).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"gather-{platform.system().lower()}-{platform.machine()}-{digest}.so"


def find_compiler() -> list[str]:
    """Return the C compiler's command: the environment's CC, else the first of the usual names on the PATH.

    Raises:
        KernelUnavailable: there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise KernelUnavailable(
        f"no C compiler: {named[0]} (of CC) is not there" if named else f"no C compiler: no {', '.join(COMPILERS)}",
        "install gcc or clang (Debian, Ubuntu: apt-get install gcc libc6-dev)",
    )


def compile_library(folder: Path) -> Path:
    """Compile the kernels into `folder`, without OpenMP, on one thread, where the compiler does not have it.

    Raises:
        KernelUnavailable: no compiler, or it fails, with the last line it said.

    Writes: the library and its checksum, by temporary names.
    """
    compiler = find_compiler()
    said = ""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(folder / library_name()) as target:
            for openmp in ([OPENMP], []):
                done = subprocess.run(
                    [*compiler, *FLAGS, *openmp, str(SOURCE), "-lm", "-o", str(target)],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=COMPILE_SECONDS,
                    check=False,
                )
                if done.returncode == 0:
                    break
                said = said or (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            else:
                raise KernelUnavailable(f"{compiler[0]} does not compile {SOURCE.name}: {said}")
            target.chmod(0o755)
        library = folder / library_name()
        with replacing(checksum_file(library)) as target:
            target.write_text(hashlib.sha256(library.read_bytes()).hexdigest() + "\n")
    except subprocess.TimeoutExpired as error:
        raise KernelUnavailable(f"{compiler[0]} took more than {COMPILE_SECONDS:.0f} s over {SOURCE.name}") from error
    except OSError as error:
        raise KernelUnavailable(f"{folder}: the kernel cannot be written: {error.strerror}") from error
    return library


def checksum_file(library: Path) -> Path:
    """Return the file beside a library that holds its SHA-256."""
    return library.with_suffix(".sha256")


def is_sound(library: Path) -> bool:
    """Say whether a library may be executed: whole, and written by nobody but this user or root."""
    try:
        found = library.stat()
        whole = hashlib.sha256(library.read_bytes()).hexdigest() == checksum_file(library).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return False
    strangers = stat.S_IWGRP | stat.S_IWOTH
    return whole and found.st_uid in (os.geteuid(), 0) and not found.st_mode & strangers


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library into the process and declare its functions.

    Raises:
        KernelUnavailable: the system does not load it, as from a file system without execution.
    """
    try:
        library = ctypes.CDLL(str(path))
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        batch = ctypes.POINTER(Batch)
        library.look_up.argtypes = [batch, pointer, pointer, integer, integer]
        library.take_bytes.argtypes = [batch, pointer, integer]
        library.standardize.argtypes = [batch, pointer, ctypes.c_float, pointer, pointer, integer, integer]
    except (OSError, AttributeError) as error:
        raise KernelUnavailable(f"the compiled kernel cannot be loaded: {error}") from error
    return library


def load_library(cache: Path) -> ctypes.CDLL:
    """Load the kernels: those beside their source, as an image may bring them, else those of `cache`.

    Args:
        cache: a folder; they are compiled into it where it has none, a damaged one, or one that somebody else may
            have written.

    Raises:
        KernelUnavailable: they cannot be had.

    Writes: the library, into `cache`.
    """
    if not sys.platform.startswith(("linux", "darwin")):
        raise KernelUnavailable(f"no kernel for {sys.platform}")
    for path in (SOURCE.with_name(library_name()), cache / library_name()):
        if is_sound(path):
            return open_library(path)
    return open_library(compile_library(cache))
