"""What a server, a database or a folder says does not get at the terminal, nor at the files it is put into."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from tests.security.stranger import Stranger, a_run, an_experiment
from tests.security.test_artifact_stores import API
from tracker.cli import main as program
from tracker.cli.console import print_table, stderr_console, stdout_console
from tracker.compare.guard import CONDITIONS, obstacles
from tracker.study.load import parse_study
from tracker.study.printing import harmless, markdown_text
from tracker.tracking.client import short
from tracker.tracking.view import describe_study

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
"""Puts text into the clipboard of many terminals."""
HOSTILE = (CLIPBOARD, "\x1b]0;title\x07", "\x9b31m", "a\x08\x08b", "ok\rerror", "\u202egpj.exe", "\x1b[2J", "\x00")
BAD = frozenset("\x00\x07\x08\x0d\x1b\x9b\u202e")


@settings(max_examples=50)
@given(st.text())
def test_harmless_text(text: str) -> None:
    """Nothing that a terminal obeys is left but line ends and tabs; other text stays as it is."""
    safe = harmless(text)
    assert not set(safe) & BAD and safe.count("\n") == text.count("\n")
    assert harmless(safe) == safe


@pytest.mark.parametrize("text", HOSTILE)
def test_consoles_are_harmless(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is printed, in a table or by itself, in colour or not, its control characters are shown and not sent."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    table = Table("name")
    table.add_row(text)
    with redirect_stdout(io.StringIO()) as printed:
        stdout_console().print(Text(text, style="red"))
        stdout_console().print(text, markup=False)
        print_table(table)
    stderr_console().print(text, markup=False)
    said = printed.getvalue() + sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m" in said, "the program's own colours are there"
    assert text not in said and "\x07" not in said and "\x1b]" not in said and not set(said) & (BAD - {"\x1b"})


def test_names_from_a_server(
    server: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study's name in somebody's MLflow is shown in an error, but not obeyed."""
    tags = {"tracker.kind": "study", "tracker.study": f"evil{CLIPBOARD}", "tracker.document.chunks": "1"}
    server.answers |= {
        f"{API}/experiments/search": {"experiments": [an_experiment("x")]},
        f"{API}/runs/search": {"runs": [a_run("mlflow-artifacts:/1", **tags, **{"tracker.document.0": "{}"})]},
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr("sys.argv", ["tracker", "compare", "--study", "mine"])
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # `main` would set it for all tests to come
    with pytest.raises(SystemExit) as ended:
        program.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and "evil\\x1b]52" in said and not set(said) & BAD


@pytest.mark.parametrize(
    "definition",
    ["[" * 5_000, json.dumps({"name": "../../x"}), json.dumps([1]), "{}", "", json.dumps({"axes": CLIPBOARD})],
)
def test_a_definition_from_a_server(
    definition: str, server: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study's definition in MLflow is checked like a file: too deep, or with a name that leads out, it is refused."""
    tags = {"tracker.kind": "study", "tracker.study": "x", "tracker.document.chunks": "1"}
    server.answers |= {
        f"{API}/experiments/search": {"experiments": [an_experiment("x")]},
        f"{API}/runs/search": {"runs": [a_run("mlflow-artifacts:/1", **tags, **{"tracker.document.0": definition})]},
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr("sys.argv", ["tracker", "compare", "--study", "x"])
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # `main` would set it for all tests to come
    with pytest.raises(SystemExit) as ended:
        program.main()
    said = capsys.readouterr().err
    assert ended.value.code in (1, 2) and said.startswith("error: ") and "x" in said and not set(said) & BAD


def test_an_answer_of_a_server_is_one_harmless_line() -> None:
    """What a server says went wrong goes into messages and logs: without control characters or addresses' passwords."""
    error = short(OSError(f"bad {CLIPBOARD} http://user:s3cret@host/x\nfake: all is well"))
    assert not set(error) & BAD and "\n" not in error and "s3cret" not in error and "http://host/x" in error


def test_tags_in_a_verdict() -> None:
    """What two runs differ in is told in their own words, of which letters, digits and few signs are left."""

    class Outcome:
        def __init__(self, value: str) -> None:
            self.conditions = dict.fromkeys(CONDITIONS, value)

    for text in ("![](//a.b/c)", "<img src=x>", "\x1b]0;a\x07", "|a|b|", "\\input{x}", "=cmd|x"):
        lines = obstacles([Outcome(text), Outcome("2.11.0+cpu")])  # type: ignore[list-item]
        assert len(lines) == len(CONDITIONS)
        assert all(not set(line) & set("<>![]|\\=\x1b\x07{}") and "2.11.0+cpu" in line for line in lines)


def test_a_question_in_mlflow() -> None:
    """A study's question stands in MLflow as text: no HTML, no link, no picture that tells its server who looks."""
    question = "Is ![](http://evil/p.png) <script>alert(1)</script> [better](javascript:x) *now*?\n# Yes"
    document = {
        "name": "x",
        "question": question,
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"]},
    }
    first = describe_study(parse_study(document, "x.yaml")).splitlines()[0]
    assert first == f"**{markdown_text(question)}**"
    assert "<script" not in first and "![" not in first and "](" not in first.replace("\\](", "") and "# Yes" in first
