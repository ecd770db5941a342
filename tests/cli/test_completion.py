"""The shell completes commands, options and values: from names alone, fast, and never with an error."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from tracker.cli.completion import SHELLS, Bash
from tracker.cli.main import cli
from tracker.cli.values import _torchvision_models
from tracker.ledger.ledger import Ledger
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.vision.models import model_names

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("tracker")
STUDY = {
    "name": "swept",
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2]},
}
BREAKS = " \t\n\"'><=;|&(:"
"""COMP_WORDBREAKS as bash has it."""
IMPORTS = """
import json, os, sys
os.environ |= {"_TRACKER_COMPLETE": "bash_complete", "COMP_LINE": sys.argv[1]}
from tracker.cli.main import main
sys.argv = ["tracker"]
try:
    main()
except SystemExit:
    json.dump(sorted(sys.modules), sys.stderr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one study file, with a home in which another study waits, and with a source made there."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "experiments").mkdir()
    document = {"datasets": {"leaves": {"kind": "digits"}, "trees": {"kind": "digits"}}, **STUDY}
    (folder / "experiments" / "filed.yaml").write_text(json.dumps({**document, "name": "filed"}))
    home = Home(folder / "mlruns")
    home.make(home.sources / "my-digits")
    with Ledger.local(home, lease_seconds=600) as ledger:
        ledger.enroll(parse_study(STUDY, file="swept.yaml"))
    return folder


def offered(monkeypatch: pytest.MonkeyPatch, place: Path, line: str, breaks: str = BREAKS) -> list[str]:
    """Return what bash is told to offer at the end of a line, kinds included."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORDBREAKS", breaks)
    text = Bash(cli, {}, "tracker", "_TRACKER_COMPLETE").complete()
    return text.splitlines()


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("tracker comp", ["plain,compare", "plain,completion"]),
        ("tracker sweep --st", ["plain,--study", "plain,--storage"]),
        ("tracker sweep --study ", ["plain,filed", "plain,swept"]),
        ("tracker sweep --study=f", ["plain,filed"]),
        ("tracker worker --study ", ["plain,swept"]),
        ("TRACKER_HOME=/nowhere tracker worker --study ", ["plain,swept"]),
        ("tracker cancel --study swept --cell resnet18/digits/pretrain/seed=", ["plain,1", "plain,2"]),
        ("tracker cancel --study nosuch --cell ", []),
        ("tracker export --study swept --cell ", ["plain,best"]),
        ("tracker compare --metric ", ["plain,best_acc", "plain,last_acc", "plain,selected_acc"]),
        ("tracker compare --baseline min", ["plain,minmax"]),
        ("tracker sweep --study filed --set recipe.norm", ["open,recipe.normalization="]),
        ("tracker sweep --study filed --set recipe.normalization=m", ["plain,minmax"]),
        ("tracker sweep --study filed --set recipe.tune=", ["plain,full", "plain,head", "plain,head+bn"]),
        ("tracker sweep --study filed --set recipe.flip=", ["plain,true", "plain,false"]),
        ("tracker sweep --study filed --set recipe.lr=", []),
        ("tracker sweep --study filed --set norm", ["open,normalization="]),
        ("tracker sweep --study filed --set data", ["open,dataset=", "open,datasets."]),
        ("tracker sweep --study filed --set datasets.leaves.p", ["open,datasets.leaves.path="]),
        ("tracker sweep --study filed --set datasets.*.image", ["open,datasets.*.image_size="]),
        ("tracker sweep --axis norm", ["open,normalization="]),
        ("tracker sweep --axis normalization=pretrain,", ["plain,pretrain,finetune", "plain,pretrain,instance"]),
        ("tracker sweep --device c", ["plain,cpu", "plain,cuda"]),
        ("tracker sweep --workers ", ["plain,auto"]),
        ("tracker sweep --home ", ["dir,"]),
        ("tracker export --where tune=h", ["plain,head", "plain,head+bn"]),
        ("tracker data fetch ci", ["plain,cifar10", "plain,cifar100"]),
        ("tracker data stats --study filed l", ["plain,leaves"]),
        ("tracker data fetch --weights resnet18:", ["plain,IMAGENET1K_V1", "plain,IMAGENET1K_V2"]),
        ("tracker data fetch --weights resnet15", ["open,resnet152:"]),
        ("tracker pretrain --model densenet12", ["plain,densenet121"]),
        ("tracker advise --source my", ["plain,my-digits"]),
        ("tracker predict win", ["file,win"]),
        ("tracker sweep --study 'unclosed", []),
    ],
)
def test_values_that_matter_are_offered(
    line: str, first: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can stand there, in pieces as bash cuts words; no space follows what is to be typed on."""
    assert offered(monkeypatch, place, line)[: max(len(first), 1)] == first


def test_words_stay_whole_where_bash_does_not_cut_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took = and : out of COMP_WORDBREAKS gets whole words."""
    line = "tracker sweep --set recipe.normalization=m"
    assert offered(monkeypatch, place, line, breaks=" \t\n") == ["plain,recipe.normalization=minmax"]


@pytest.mark.parametrize("damage", ["no file", "text", "empty", "locked"])
def test_a_broken_trial_database_offers_nothing(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, no wait and no new file, whatever lies there."""
    home = Home(tmp_path / "mlruns")
    home.make(home.root)
    if damage == "locked":
        with Ledger.local(home) as ledger:
            ledger.enroll(parse_study(STUDY, file="swept.yaml"))
        import sqlite3

        holder = sqlite3.connect(home.trials_db, isolation_level=None)
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
    elif damage != "no file":
        home.trials_db.write_text("no database" * 100 if damage == "text" else "")
    before = sorted(home.root.iterdir())
    started = time.monotonic()
    found = offered(monkeypatch, tmp_path, "tracker worker --study ")
    assert time.monotonic() - started < 5
    assert found == [] or damage == "locked"  # with a write-ahead log a reader need not wait
    if damage == "locked":
        holder.close()
    else:
        assert sorted(home.root.iterdir()) == before


def test_a_server_is_not_asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TRACKER_STORAGE set nothing is read from elsewhere, and nothing waits for a network."""
    monkeypatch.setenv("TRACKER_STORAGE", "postgresql+psycopg://nowhere.invalid/trials")
    assert offered(monkeypatch, place, "tracker worker --study ") == []


def test_names_are_those_of_the_program() -> None:
    """The models read from torchvision's files are those that torchvision registers."""
    assert _torchvision_models() == set(model_names())


def test_completing_imports_nothing_heavy(place: Path) -> None:
    """TAB waits for click, yaml and pydantic at most. If this fails: keep the import named here out of values.py."""
    for line in ("tracker cancel --study swept --cell r", "tracker pretrain --model r"):
        done = subprocess.run(
            [sys.executable, "-c", IMPORTS, line], cwd=place, capture_output=True, text=True, check=True
        )
        assert done.stdout, line
        loaded = {name.partition(".")[0] for name in json.loads(done.stderr)}
        assert not loaded & {"torch", "torchvision", "numpy", "mlflow", "optuna", "sqlalchemy", "rich", "pandas"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_sound(shell: str, tmp_path: Path) -> None:
    """Each shell's script is one that the shell can read, where it is installed, and names program and variable."""
    done = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert f"_TRACKER_COMPLETE={shell}_complete" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout)
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True)


def test_every_shell_is_one_that_click_knows() -> None:
    """An unknown shell is wrong usage."""
    with pytest.raises(click.UsageError, match="'tcsh' is not one of 'bash', 'zsh', 'fish'"):
        cli.main(["completion", "tcsh"], standalone_mode=False)


def test_a_real_bash_completes(place: Path) -> None:
    """Typed into an interactive bash: TAB fills in a word, also behind = and :, and Enter runs what stands there."""
    environment = {**os.environ, "PS1": "$ ", "TERM": "dumb", "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    environment.pop("TRACKER_HOME", None)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(place)
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)  # noqa: S606
    try:
        say(terminal, 'eval "$(tracker completion bash)"; tracker() { printf "<%s>" "$@"; }; echo re""ady\n', "ready\r")
        for typed, ran in [
            ("sweep --study fi\t", "<sweep><--study><filed>"),
            ("sweep --axis norm\tmin\t", "<sweep><--axis><normalization=minmax>"),
            ("data fetch --weights resnet15\tIMAGENET1K_V1", "<data><fetch><--weights><resnet152:IMAGENET1K_V1>"),
        ]:
            say(terminal, f"tracker {typed}\n", ran)
    finally:
        os.close(terminal)  # hangs up
        os.waitpid(process, 0)


def say(terminal: int, keys: str, wanted: str) -> None:
    """Type keys, TABs one by one, and wait until the screen shows what is wanted."""
    for part in keys.splitlines(keepends=True)[0].split("\t"):
        os.write(terminal, part.encode())
        if not part.endswith("\n"):
            os.write(terminal, b"\t")
    seen = b""
    until = time.monotonic() + 60
    while wanted.encode() not in seen:
        assert time.monotonic() < until, seen.decode()
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65_536)
