"""The compiled kernels come and go: no compiler, a broken one, damaged files, files of others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tracker.vision.augmentation import draw_plan, gather_batch
from tracker.vision.images import Statistics
from tracker.vision.kernels import library
from tracker.vision.kernels.library import checksum_file, compile_library, library_name, load_library
from tracker.vision.kernels.pipeline import Setting, build_input_pipeline
from tracker.vision.normalizations import ZScore

SETTING = Setting(ZScore(Statistics((0.305,), (0.327,))), 1, 2)
NEEDS_COMPILER = pytest.mark.skipif(not any(map(shutil.which, library.COMPILERS)), reason="no C compiler")
IMAGES = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def a_compiler(folder: Path, script: str) -> Path:
    """Write a program that stands where a compiler would."""
    program = folder / "cc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def goes_on_plainly(cache: Path) -> str:
    """See that images come by the plain way, and return the reason."""
    made = build_input_pipeline(SETTING, IMAGES, cache=cache)
    assert made.name == "plain"
    assert made.reason is not None
    assert "\n" not in made.reason
    plan = draw_plan(8, seed=0, epoch=0, crop_padding=2, flip=True)
    assert torch.equal(made(IMAGES, plan), SETTING.normalization(gather_batch(IMAGES, plan, 2)))
    return made.reason


def test_without_a_compiler_the_plain_way_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler trains all the same, and the reason is named."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert goes_on_plainly(tmp_path / "cache").startswith("no C compiler: no cc, gcc, clang; install gcc or clang")
    monkeypatch.setenv("CC", "icc -fast")
    assert goes_on_plainly(tmp_path / "cache").startswith("no C compiler: icc (of CC) is not there; ")


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line a compiler says is the reason; nothing of its attempt stays."""
    monkeypatch.setenv("CC", str(a_compiler(tmp_path, "echo first >&2; echo 'fatal error: math.h' >&2; exit 1")))
    assert "does not compile gather.c: fatal error: math.h" in goes_on_plainly(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_compiler_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial waits for a compiler for ever."""
    monkeypatch.setattr(library, "COMPILE_SECONDS", 0.2)
    monkeypatch.setenv("CC", str(a_compiler(tmp_path, "exec sleep 60")))
    assert "took more than" in goes_on_plainly(tmp_path / "cache")


@NEEDS_COMPILER
def test_without_openmp_it_runs_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that does not know OpenMP, as on a Mac, makes the same kernel for one thread."""
    script = 'for word; do [ "$word" = -fopenmp ] && { echo "unsupported option -fopenmp" >&2; exit 1; }; done\n'
    monkeypatch.setenv("CC", str(a_compiler(tmp_path, f'{script}exec /usr/bin/env PATH="$PATH:/usr/bin" gcc "$@"')))
    made = build_input_pipeline(SETTING, IMAGES, cache=tmp_path / "cache")
    assert (made.name, made.reason) == ("native", None)


@NEEDS_COMPILER
def test_a_kept_library_needs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled once, it serves every later process of the user."""
    compile_library(tmp_path)
    monkeypatch.setenv("CC", "/nowhere/cc")
    assert build_input_pipeline(SETTING, IMAGES, cache=tmp_path).name == "native"


@NEEDS_COMPILER
@pytest.mark.parametrize("damage", ["cut", "changed", "writable", "no checksum"])
def test_a_library_that_may_not_be_executed_is_made_again(tmp_path: Path, damage: str) -> None:
    """Cut short, altered, open to others' writing: none is loaded, and the next compile replaces it."""
    path = compile_library(tmp_path)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:5000])
    elif damage == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "writable":
        path.chmod(0o777)
    else:
        checksum_file(path).unlink()
    assert not library.is_sound(path)
    load_library(tmp_path)
    assert library.is_sound(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, checksum_file(path).name])


def test_it_is_kept_in_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in a home folder, which may have come from somebody else; without a home directory it is not kept."""
    monkeypatch.delenv(library.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert library.cache_folder() == tmp_path / "norm-tracker"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert library.cache_folder() == tmp_path / ".cache" / "norm-tracker"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    made = build_input_pipeline(SETTING, IMAGES)
    assert made.name == "plain" and made.reason == (
        "there is no home directory to keep compiled code in; set TRACKER_CACHE_DIR"
    )


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the cache should be is the reason, not a crash."""
    (tmp_path / "cache").write_text("")
    assert str(tmp_path / "cache") in goes_on_plainly(tmp_path / "cache")


@NEEDS_COMPILER
def test_a_kernel_that_differs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong bit in the check batch, and the plain way goes on, saying so."""
    wrong = tmp_path / "gather.c"
    wrong.write_text(library.SOURCE.read_text().replace("out[x * step] = black;", "out[x * step] = black + 1e-7f;"))
    monkeypatch.setattr(library, "SOURCE", wrong)
    assert "of the numbers of images augmented are not those of the plain way" in goes_on_plainly(tmp_path / "cache")


def test_another_source_has_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade that changed the kernels the old file is not found."""
    before = library_name()
    changed = tmp_path / "gather.c"
    changed.write_text(library.SOURCE.read_text() + "\n/* changed */\n")
    monkeypatch.setattr(library, "SOURCE", changed)
    assert library_name() != before


@NEEDS_COMPILER
def test_many_processes_compile_at_once(tmp_path: Path) -> None:
    """Workers that start together may all compile: each ends with the kernels, and one whole file is left."""
    program = "from pathlib import Path; import sys; from tracker.vision.kernels.library import load_library\n"
    program += "load_library(Path(sys.argv[1])).look_up"
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(library.__file__).parents[3]
    running = [subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    assert library.is_sound(tmp_path / library_name())
    assert len(list(tmp_path.iterdir())) == 2


@NEEDS_COMPILER
def test_a_float64_classifier_goes_plainly(tmp_path: Path) -> None:
    """A normalization in float64 is not the kernel's to round."""
    double = Setting(ZScore(Statistics((0.305,), (0.327,))).double(), 1, 2)
    made = build_input_pipeline(double, IMAGES, cache=tmp_path)
    assert made.name == "plain"
    assert "float64" in str(made.reason)
    assert made(IMAGES).dtype == torch.float64


def test_images_that_do_not_lie_in_rows_go_plainly(tmp_path: Path) -> None:
    """The kernel reads contiguous images; others are the plain way's."""
    made = build_input_pipeline(SETTING, IMAGES.transpose(2, 3), cache=tmp_path)
    assert (made.name, made.reason) == ("plain", "the native kernel takes contiguous images on a CPU")


def test_plain_is_plain_when_asked_for(tmp_path: Path) -> None:
    """The plain way is no fallback when it was chosen: there is no reason to give."""
    made = build_input_pipeline(SETTING, IMAGES, cache=tmp_path, way="plain")
    assert (made.name, made.reason) == ("plain", None)
    assert list(tmp_path.iterdir()) == []
