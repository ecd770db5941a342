"""The machine: Python, packages, device, memory, disk."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata

import psutil
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tracker.study.errors import DeviceError
from tracker.study.home import Home
from tracker.sweep.checkup.finding import Finding, Level
from tracker.training import mps
from tracker.training.device import resolve_device
from tracker.training.precision import cpu_has_bf16

DISTRIBUTION = "norm-tracker"
PACKAGES = ("torch", "torchvision", "mlflow", "optuna", "sqlalchemy", "click")

LOW_DISK_BYTES = 5 << 30
"""Under this a longer sweep may run out of disk: a checkpoint of densenet161 takes 0.1 GB a cell."""

NO_DISK_BYTES = 1 << 30
"""Under this a sweep does not start."""

ANSWER_SECONDS = 5


def check_python() -> Iterator[Finding]:
    """Compare the interpreter with what the package asks for."""
    version = platform.python_version()
    text = f"{version} on {platform.system()} {platform.machine()}"
    try:
        asked = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:  # of that the next check tells
        yield Finding("python", "ok", text)
        return
    if SpecifierSet(asked).contains(version, prereleases=True):
        yield Finding("python", "ok", text)
    else:
        yield Finding("python", "problem", f"{text}; needed: {asked}", "make a virtual environment with a newer Python")


def check_packages() -> Iterator[Finding]:
    """Compare the packages that matter most with the bounds the package declares, where they are known."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        message = f"{DISTRIBUTION} is not installed, only found on Python's path: which versions it needs is not known"
        yield Finding("packages", "warning", message, "pip install -e . in its folder")
        declared = []
    asked = {req.name: req.specifier for req in map(Requirement, declared) if not req.marker}
    for name in PACKAGES:
        bound = asked.get(name, SpecifierSet())
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "problem", f"not installed; needed: {bound or 'any'}", f"pip install '{name}{bound}'")
            continue
        if bound.contains(version, prereleases=True):
            yield Finding(name, "ok", version)
        else:
            yield Finding(name, "problem", f"{version}; needed: {bound}", f"pip install --upgrade '{name}{bound}'")


def check_device(name: str) -> Iterator[Finding]:
    """Look at the device a sweep would use, and at the CPU."""
    with warnings.catch_warnings(record=True) as caught:  # torch warns of an old driver and goes on without CUDA
        warnings.simplefilter("always")
        has_cuda = torch.cuda.is_available()
    for warning in caught:
        yield Finding("device", "warning", str(warning.message).split("\n")[0], "update the NVIDIA driver")
    yield Finding("cpu", "ok", describe_cpu())
    cards = nvidia_smi("name")
    if cards and not has_cuda:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        message = f"{', '.join(cards)}, but torch {torch.__version__} cannot use it: it is {built}"
        yield Finding("device", "warning", message, "install a CUDA build of torch that suits the driver")
    try:
        device = resolve_device(name)
    except DeviceError as error:
        yield Finding("device", "problem", error.message, error.cure)
        return
    if device.type == "cpu":
        why = "asked for" if name == "cpu" else "there is no CUDA device"
        yield Finding("device", "ok", f"cpu ({why})")
        return
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # a card that is broken, or that another process holds alone
        message = str(error).strip().split("\n")[0]
        yield Finding("device", "problem", f"{device}: {message}", "see nvidia-smi, or choose another with --device")
        return
    driver = (nvidia_smi("driver_version") or ["unknown"])[0]
    yield Finding(
        "device",
        "ok" if free > total / 2 else "warning",
        f"{device}: {torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, "
        f"driver {driver}, CUDA {torch.version.cuda}, bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}, "
        f"MPS {'yes' if mps.serves() else 'no'}; "
        f"{torch.cuda.device_count()} in all",
        None if free > total / 2 else "something else uses it: see nvidia-smi, or choose another with --device",
    )


def describe_cpu() -> str:
    """Return cores, threads, vector unit, bf16 in hardware, and memory."""
    bf16 = {True: "yes", False: "no", None: "unknown"}[cpu_has_bf16()]
    memory = psutil.virtual_memory()
    return (
        f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, bf16 {bf16}, "
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free"
    )


def nvidia_smi(field: str) -> list[str]:
    """Ask the driver about each card; empty where there is no driver."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def check_disk(home: Home) -> Iterator[Finding]:
    """See whether home can be written to, and how much room there is; home need not exist yet."""
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    elsewhere = "another place: --home DIR or TRACKER_HOME=DIR"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Finding("disk", "problem", f"{there}: cannot be written to: {error.strerror}", elsewhere)
        return
    free = shutil.disk_usage(there).free
    level: Level = "problem" if free < NO_DISK_BYTES else "warning" if free < LOW_DISK_BYTES else "ok"
    cure = None if level == "ok" else f"free some space, or {elsewhere}"
    yield Finding("disk", level, f"{home.root}: {free / 2**30:.1f} GiB free, writable", cure)
