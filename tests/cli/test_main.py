"""Rules of the `tracker` command as a whole: a quick start, exit codes, and what goes to stdout and stderr."""

from __future__ import annotations

import importlib
import json
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import tracker
import tracker.cli
from tracker.cli import main as program
from tracker.study.errors import DataMissing, PreflightError, StudyError, TrackerError, UsageError

HELPERS = {
    *("main", "options", "console", "progress", "examples", "values", "browser", "durations"),
    *("deciding", "ending", "fetching", "pausing", "self_check"),
}
"""Modules of `tracker.cli` that hold no command."""

RENDER_ALL_HELP = """
import contextlib, io, json, sys
before = set(sys.modules)
import click
from tracker.cli.main import cli, main

def paths(command, path):
    yield path
    for name in getattr(command, "commands", {}):
        yield from paths(command.commands[name], [*path, name])

rendered = {}
for path in paths(cli, []):
    sys.argv = ["tracker", *path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    rendered[" ".join(path)] = out.getvalue()
json.dump({"rendered": rendered, "modules": sorted(set(sys.modules) - before)}, sys.stdout)
"""

WAIT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background
from tracker.cli.main import cli, main

@cli.command()
def wait():
    print("ready", flush=True)
    time.sleep(60)

sys.argv = ["tracker", "wait"]
main()
"""


@pytest.fixture(scope="module")
def all_help() -> dict[str, dict[str, str] | list[str]]:
    """Every command's help, and the modules that rendering them loaded, from a process of its own."""
    done = subprocess.run([sys.executable, "-c", RENDER_ALL_HELP], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, str] | list[str]] = json.loads(done.stdout)
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the program in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["tracker", *arguments])
    with pytest.raises(SystemExit) as ended:
        program.main()
    return ended.value.code if isinstance(ended.value.code, int) else int(ended.value.code is not None)


def test_help_imports_click_and_nothing_else(all_help: dict[str, dict[str, str] | list[str]]) -> None:
    """No `--help` waits for torch or mlflow. If this fails: move the import named here into the command's body."""
    rendered, modules = all_help["rendered"], all_help["modules"]
    assert isinstance(rendered, dict)
    assert len(rendered) >= 16
    for path, text in rendered.items():
        assert text.startswith(f"Usage: tracker {path}".strip()), path
    allowed = {"click", "tracker", *sys.stdlib_module_names}
    assert [name for name in modules if name.partition(".")[0] not in allowed] == []
    own = {name for name in modules if name.startswith("tracker.")}
    commands = {name for name in own if name.startswith("tracker.cli")}
    needed = {"tracker.study", "tracker.study.errors", "tracker.study.printing", "tracker.study.secrets"}
    assert own - commands <= needed, "what main() needs for errors and secrets, no more"


def test_every_command_is_reachable() -> None:
    """A module of `tracker.cli` holds a command of its name, and the group knows it."""
    modules = {found.name for found in pkgutil.iter_modules(tracker.cli.__path__)}
    assert modules >= HELPERS
    for name in sorted(modules - HELPERS):
        command = getattr(importlib.import_module(f"tracker.cli.{name}"), name)
        assert program.cli.commands.get(name.replace("_", "-")) is command, f"add {name} to tracker/cli/main.py"
    assert len(program.cli.commands) == len(modules - HELPERS)


def test_every_option_has_its_help() -> None:
    """Every command says what it does in a sentence, and every option has a line of help."""
    looked_at = 0

    def look(command: click.Command, path: str) -> None:
        nonlocal looked_at
        summary = (command.help or "").strip().split("\n\n")[0]
        assert summary.endswith((".", ":")), path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                looked_at += 1
                assert parameter.help, f"{path} {parameter.opts}"
        for name, child in getattr(command, "commands", {}).items():
            look(child, f"{path} {name}")

    look(program.cli, "tracker")
    assert looked_at > 40


def test_version() -> None:
    """`python -m tracker` is the program."""
    done = subprocess.run([sys.executable, "-m", "tracker", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tracker, version {tracker.__version__}\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (TrackerError("it is gone", "fetch it"), 1, "error: it is gone\n  cure: fetch it\n"),
        (DataMissing("no images"), 1, "error: no images\n"),
        (
            PreflightError([DataMissing("no images", "fetch them")]),
            1,
            "error: the sweep cannot start: 1 obstacle:\n- no images\n  cure: fetch them\n",
        ),
        (UsageError("not so", "but so"), 2, "error: not so\n  but so\n"),
        (StudyError("a.yaml", "axes", "is []", "a mapping"), 2, "error: a.yaml: axes: is []\n  accepted: a mapping\n"),
    ],
)
def test_errors_become_a_message_and_an_exit_code(
    error: TrackerError,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every error of the program is one message on stderr, without a traceback; stdout stays empty."""

    def fail() -> None:
        raise error

    monkeypatch.setitem(program.cli.commands, "fail", click.Command("fail", callback=fail))
    assert run(monkeypatch, "fail") == code
    assert capsys.readouterr() == ("", shown)


def test_done_is_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that ends has done what it says."""
    monkeypatch.setitem(program.cli.commands, "work", click.Command("work", callback=lambda: click.echo("42")))
    assert run(monkeypatch, "work") == 0
    assert capsys.readouterr() == ("42\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nosuch"],
        ["--nosuch"],
        ["server"],
        ["server", "nosuch"],
        ["sweep"],
        ["sweep", "--study"],
        ["sweep", "--study", "quickstart", "--workers", "0"],
        ["sweep", "--study", "quickstart", "--limit-train", "none"],
        ["compare", "--metric", "test_acc"],
        ["compare", "extra"],
    ],
)
def test_wrong_usage_is_two(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What click cannot parse, and what a command cannot mean, ends with 2; stdout stays empty."""
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("Usage: tracker", "Error: "))


def test_a_wrong_study_file_is_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names file, key, value and what is accepted, and nothing was begun."""
    file = tmp_path / "study.yaml"
    file.write_text(
        "question: Q\nrecipe: {model: resnet18, dataset: digits, lr: 1e-3}\naxes: {normalization: [pretrain]}\n"
    )
    home = tmp_path / "home"
    assert run(monkeypatch, "sweep", "--study", str(file), "--home", str(home)) == 2
    expected = (
        f"error: {file}: recipe.lr: '1e-3' is text: YAML wants a dot and a sign, as in 1.0e-3\n  accepted: 0.001\n"
    )
    assert capsys.readouterr() == ("", expected)
    assert not home.exists()


def test_ctrl_c_is_no_traceback() -> None:
    """Ctrl-C in a command that has nothing of its own to stop says so in a word and ends with 1."""
    process = subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (1, "", "Aborted!")
