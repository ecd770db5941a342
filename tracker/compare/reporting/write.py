"""A report as a folder of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tracker.compare.data import csv_text
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.data import KIND, comparisons_csv, json_text
from tracker.compare.reporting.figures import FOLDER, NAMES, Drawing, drawings_of
from tracker.compare.reporting.html import html
from tracker.compare.reporting.latex import latex
from tracker.compare.reporting.markdown import markdown
from tracker.compare.reporting.page import page_of
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import replacing
from tracker.study.plain import parse_json

MARK = "report.json"
TEXTS = ("report.html", "report.md", "tables.tex", "leaderboard.csv", "comparisons.csv", MARK)
FORMS = ("svg", "png")


def check_folder(folder: Path) -> None:
    """See that a report may be written into `folder`: it is new, empty, or holds an earlier report.

    Raises:
        UsageError: it is a file, or holds other things.
    """
    accepted = "a new or empty folder, or one with an earlier report"
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", f"accepted: {accepted}")
    if any(folder.iterdir()) and not _holds_report(folder):
        raise UsageError(f"{folder} holds other files", f"accepted: {accepted}")


def write_report(content: Content, folder: Path) -> list[Path]:
    """Write a report in every format.

    Files of an earlier report are replaced, each in one piece; figures that this one does not have are removed.

    Returns:
        What was written, report.html first.

    Raises:
        UsageError: as `check_folder`.
        TrackerError: a file cannot be written.

    Writes: `TEXTS`, and `figures/NAME.svg` and `.png` of those of `NAMES` that there are numbers for.
    """
    check_folder(folder)
    drawings = drawings_of(content)
    try:
        figures = _draw(drawings, folder / FOLDER)
        drawn = {path.stem: path.read_bytes() for path in figures if path.suffix == ".svg"}
        page = page_of(content, {name: drawing.picture for name, drawing in drawings.items()})
        made: dict[str, Callable[[], str]] = {
            "report.html": lambda: html(page, drawn),
            "report.md": lambda: markdown(page),
            "tables.tex": lambda: latex(page),
            "leaderboard.csv": lambda: csv_text([content.board, *content.others]),
            "comparisons.csv": lambda: comparisons_csv(content.board),
            MARK: lambda: json_text(content, tuple(drawings)),
        }
        for name in reversed(TEXTS):  # the mark first: a report that was cut short is known as one
            with replacing(folder / name) as temporary:
                temporary.write_text(made[name](), encoding="utf-8")
    except OSError as error:
        raise TrackerError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
    return [*(folder / name for name in TEXTS), *figures]


def _draw(drawings: dict[str, Drawing], folder: Path) -> list[Path]:
    for name in NAMES:
        if name in drawings:
            drawings[name].draw(folder / name)
        else:
            for form in FORMS:
                (folder / f"{name}.{form}").unlink(missing_ok=True)
    return [folder / f"{name}.{form}" for name in NAMES if name in drawings for form in FORMS]


def _holds_report(folder: Path) -> bool:
    try:
        found = parse_json((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND
