"""Rules of the printed leaderboard: golden files, and what holds in every format.

`WRITE_GOLDEN=1 pytest tests/compare/test_formats.py` writes the golden files anew: read the
difference before it is committed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tracker.compare.data import csv_text, document
from tracker.compare.formats import FORMATS, render
from tracker.compare.latex import ESCAPES, escape
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import OPEN_STATES, Leaderboard
from tracker.compare.terminal import LeaderboardView, terminal_text
from tracker.compare.wording import percent, points
from tracker.study.study import Study

GOLDEN = Path(__file__).with_name("golden")
SUFFIX = {"table": "txt", "markdown": "md", "csv": "csv", "json": "json", "latex": "tex"}
WIDTHS = (80, 50)


def check_golden(name: str, text: str) -> None:
    """Compare with a golden file, or write it where asked to."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} differs; is that meant? then WRITE_GOLDEN=1"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["published", "gaps"])
def test_golden(name: str, form: str, published_board: Leaderboard, gaps_board: Leaderboard) -> None:
    """Each format prints the published results, and a board with every kind of gap, as its golden file has it."""
    board = {"published": published_board, "gaps": gaps_board}[name]
    check_golden(f"{name}.{SUFFIX[form]}", render(board, form))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["published", "gaps"])
def test_golden_terminal(name: str, width: int, published_board: Leaderboard, gaps_board: Leaderboard) -> None:
    """The terminal's table is as its golden file has it, side by side where there is room, below each other else."""
    board = {"published": published_board, "gaps": gaps_board}[name]
    check_golden(f"{name}-{width}.txt", terminal_text(board, width))


def test_golden_files_are_all_looked_at() -> None:
    """No golden file is left over: 5 formats and 2 more widths of 2 boards, and the empty one."""
    wanted = {f"{name}.{suffix}" for name in ("published", "gaps") for suffix in SUFFIX.values()}
    wanted |= {f"{name}-{width}.txt" for name in ("published", "gaps") for width in WIDTHS}
    assert {path.name for path in GOLDEN.iterdir()} == wanted | {"empty.txt"}


def test_golden_empty(small: Study) -> None:
    """A study of which nothing has run prints a table of missing cells."""
    check_golden("empty.txt", terminal_text(build_leaderboard(small, []), 80))


@pytest.mark.parametrize("width", [*range(46, 130, 7), 160])
def test_terminal_keeps_to_its_width(width: int, published_board: Leaderboard, gaps_board: Leaderboard) -> None:
    """At any width no line is longer, no number and no setting is cut, and each gap is named."""
    for board in (published_board, gaps_board):
        text = terminal_text(board, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for row in board.rows:
            for setting, score in row.scores.items():
                assert setting in text
                assert score.mean is None or percent(score.mean) in text
                for state in score.gaps:
                    assert state in text


def test_marks_survive_without_style(published_board: Leaderboard) -> None:
    """In plain text best and second are told by a mark beside the number, one of each a row, with a legend."""
    text = terminal_text(published_board, 120)
    table, legend = text.split("* best, ' second of the row.")
    assert len(re.findall(r"\d\*", table)) == 16
    assert len(re.findall(r"\d'", table)) == 16
    assert "difference to pretrain in points" in legend
    assert "\x1b" not in text


def test_terminal_styles(published_board: Leaderboard) -> None:
    """In a terminal the best is bold and the second underlined; NO_COLOR leaves both and takes colours away."""
    file = StringIO()
    console = Console(file=file, force_terminal=True, no_color=True, width=120, _environ={"TERM": "xterm-256color"})
    console.print(LeaderboardView(published_board))
    assert "\x1b[1m90.23\x1b[0m*" in file.getvalue()
    assert "\x1b[4m90.20\x1b[0m'" in file.getvalue()
    assert not re.search(r"\x1b\[[\d;]*\b3\d\b", file.getvalue())


def test_title_names_what_is_shown(gaps_board: Leaderboard) -> None:
    """Table, Markdown and LaTeX name study, metric, selection rule, baseline and n, and end with all the notes."""
    for form in ("table", "markdown", "latex"):
        text = re.sub(r"\s+", " ", render(gaps_board, form).replace("\\_", "_")).lower()
        for part in ("small, best_acc: best epoch, chosen on the test split", "baseline pretrain", "n = 3 seeds"):
            assert part in text, form
        for note in gaps_board.notes:
            assert note.lower() in text, form


def test_csv_is_unrounded_and_complete(published_board: Leaderboard, published: pd.DataFrame) -> None:
    """The CSV has one line a row and setting with the published numbers bit by bit."""
    table = pd.read_csv(StringIO(csv_text([published_board])))
    assert len(table) == 64
    keys = ["model", "dataset", "normalization"]
    merged = table.merge(published, on=keys, validate="one_to_one")
    assert len(merged) == 64
    assert (merged["mean"] == merged["best_acc"]).all()
    assert (merged["values"] == [f"223={value!r}" for value in merged["best_acc"]]).all()


def test_csv_of_several_metrics(small: Study, make_run: Any) -> None:
    """Boards of several metrics go into one CSV under one header."""
    runs = [make_run(cell, {"best_acc": 0.9, "last_acc": 0.8}) for cell in small.cells]
    boards = [build_leaderboard(small, runs, metric) for metric in ("best_acc", "last_acc")]
    lines = list(csv.DictReader(StringIO(csv_text(boards))))
    assert [line["metric"] for line in lines] == ["best_acc"] * 6 + ["last_acc"] * 6
    assert {line["mean"] for line in lines[6:]} == {"0.8"}


def test_csv_counts_gaps(gaps_board: Leaderboard) -> None:
    """The CSV's counts of measured and open cells add up to the seeds of the study."""
    lines = list(csv.DictReader(StringIO(csv_text([gaps_board]))))
    assert len(lines) == 6
    for line in lines:
        assert int(line["n"]) + sum(int(line[state]) for state in OPEN_STATES) == int(line["expected"]) == 3


def test_json_has_every_cell(gaps_board: Leaderboard) -> None:
    """The JSON is strict, survives a round trip and has every cell with its state and run."""
    text = render(gaps_board, "json")
    content = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert content == document(gaps_board)
    cells = [cell for row in content["rows"] for score in row["scores"].values() for cell in score["cells"]]
    assert [cell["cell_id"] for cell in cells] == [outcome.cell_id for outcome in gaps_board.outcomes]
    assert {cell["test_images"] for cell in cells if cell["run_id"]} == {10000}
    assert (content["schema"], content["metric"], content["baseline"]) == (1, "best_acc", "pretrain")


def test_markdown_columns_agree(gaps_board: Leaderboard) -> None:
    """Every line of each of the two Markdown tables has the same number of columns."""
    text, _, comparisons = render(gaps_board, "markdown").partition("**Differences")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 7
    below = [line for line in comparisons.splitlines() if line.startswith("|")]
    assert len(below) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in below} == {10}
    assert {line.count("|") for line in lines} == {7}


def test_latex_columns_agree(gaps_board: Leaderboard) -> None:
    """Every line between a table's rules has as many cells as it declares columns, and braces are balanced."""
    text = render(gaps_board, "latex")
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tables) == 2
    for (columns, body), rows in zip(tables, (6, 4), strict=True):
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(lines) == rows
        assert {line.count("&") + 1 for line in lines} == {len(columns)}
    assert text.count("{") == text.count("}")


@given(text=st.text(alphabet=st.sampled_from("ab &%$#_{}\\~^±<>")))
def test_latex_escape(text: str) -> None:
    """No character that LaTeX reads as a command comes through bare, and the plain ones come through as they are."""
    bare = escape(text)
    for safe in sorted(ESCAPES.values(), key=len, reverse=True):
        bare = bare.replace(safe, "\0")
    assert not set(bare) & set(ESCAPES)
    assert bare.count("\0") == sum(character in ESCAPES for character in text)


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0031, "+0.31"), (-0.0031, "-0.31"), (0.0, "0.00"), (-0.00001, "0.00"), (0.00004, "0.00"), (None, "")],
)
def test_points(difference: float | None, text: str) -> None:
    """A difference is signed unless it rounds to zero."""
    assert points(difference) == text
