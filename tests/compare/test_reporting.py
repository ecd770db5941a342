"""A report says the same in every format, and is written whole where nothing of others lies."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.compare.small_report import SVG
from tracker.compare.reporting import blocks
from tracker.compare.reporting.content import Content, published_content
from tracker.compare.reporting.figures import NAMES, drawings_of
from tracker.compare.reporting.html import html
from tracker.compare.reporting.latex import ROWS_A_PAGE, latex
from tracker.compare.reporting.markdown import markdown
from tracker.compare.reporting.page import page_of
from tracker.compare.reporting.write import TEXTS, check_folder, write_report
from tracker.study.errors import TrackerError, UsageError


def test_every_format_has_every_table(page: blocks.Page) -> None:
    """Each table is in HTML, Markdown and LaTeX, with as many lines as it has rows, each as wide as its head."""
    web = html(page, {picture.name: SVG for picture in page.pictures})
    assert web.count("<table ") == len(page.tables) >= 12
    tex, text = latex(page), markdown(page)
    widths = [len(table.columns) for table in page.tables for _ in (*table.rows, *table.footer)]
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    heads = len(page.tables)
    assert len(lines) == len(widths) + heads
    assert tex.count("{") == tex.count("}")
    assert tex.count(r"\label{tab:") == heads
    assert sorted(line.count("&") + 1 - line.count(r"\&") for line in lines) == sorted(
        [*widths, *(len(table.columns) for table in page.tables)]
    )
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == len(widths) + 2 * heads


def test_long_tables_are_parted_in_latex() -> None:
    """A table that is longer than a page comes in parts, each with its head; the last has the rest and the footer."""
    rows = tuple((blocks.Cell(str(number)),) for number in range(2 * ROWS_A_PAGE + 1))
    table = blocks.Table("t", "T", (blocks.Column("n", number=True),), rows, footer=((blocks.Cell("sum"),),))
    text = latex(blocks.Page("s", "q", (), ("a",), (blocks.Section("s", "S", (table,)),)))
    assert text.count(r"\begin{table}") == text.count(r"\toprule") == 3
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:t", "tab:t-2", "tab:t-3"]
    assert text.count("sum") == 1
    assert text.index("sum") > text.index(f"\n{2 * ROWS_A_PAGE} ")


def test_report_in_every_format(written: tuple[Path, list[Path]]) -> None:
    """A report is its six texts and each figure as SVG and PNG, report.html told first, and nothing else is left."""
    folder, files = written
    found = {path for path in folder.rglob("*") if path.is_file()}
    assert found == set(files)
    assert files[0].name == "report.html"
    drawn = {path.name for path in files if path.parent.name == "figures"}
    assert drawn == {f"{name}.{form}" for name in NAMES if name != "ranks" for form in ("svg", "png")}
    assert len(files) == len(TEXTS) + len(drawn)


def test_an_earlier_report_is_replaced(empty: Content, written: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """A second report takes the first one's place; figures that it does not have go, other files stay."""
    folder = tmp_path / "out"
    shutil.copytree(written[0], folder)
    (folder / "figures" / "mine.png").write_text("kept")
    write_report(empty, folder)
    assert [path.name for path in (folder / "figures").iterdir()] == ["mine.png"]
    assert json.loads((folder / "report.json").read_text())["figures"] == []
    assert "figures/" not in (folder / "report.md").read_text()


@pytest.mark.parametrize("other", ["notes.txt", "report.json", "report.html"])
def test_a_folder_of_other_things_is_refused(other: str, empty: Content, tmp_path: Path) -> None:
    """A folder that is not a report's is left as it is, a `report.json` of another program's too."""
    (tmp_path / other).write_text('{"kind": "other"}')
    with pytest.raises(UsageError, match="holds other files"):
        write_report(empty, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [other]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A file, and a link that leads nowhere, are refused by name; an empty folder is taken."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"{name} is not a folder"):
            check_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


def test_what_cannot_be_written_is_told(empty: Content, tmp_path: Path) -> None:
    """Where a file of the report cannot be written, the error names the folder."""
    write_report(empty, tmp_path)
    (tmp_path / "tables.tex").unlink()
    (tmp_path / "tables.tex").mkdir()
    with pytest.raises(TrackerError, match=f"{tmp_path}: the report cannot be written"):
        write_report(empty, tmp_path)


def test_the_published_results_as_a_report() -> None:
    """The published results make a report: Tables 1, 2 and 3, the networks, its claims; no histories, no times."""
    content = published_content()
    drawings = drawings_of(content)
    text = markdown(page_of(content, {name: drawing.picture for name, drawing in drawings.items()}))
    for part in (
        "| resnet18 | cifar10 | 87.88 | **87.98** | 86.55 | <u>87.97</u> |",
        "|  | tiny-imagenet-200 | 53.62 | 52.89 | +0.73 | [-0.65, +2.11] |",
        "|  | pretrain | -0.02, -0.04, -0.04 | 1.21, 1.20, 1.25 |",
        "| densenet161 | 28,681,000 28.7 M | 26,472,000 | 2,208 |",
        "| On CIFAR10 finetune is better than pretrain in three of four models. | **does not hold** |",
    ):
        assert part in text
    assert set(drawings) == {"forest", "heatmap", "shift"}
    assert "tracker sweep" not in text


def test_nothing_has_run(empty: Content, tmp_path: Path) -> None:
    """Of a study without a run there is a report that says so, without figures."""
    write_report(empty, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**Nothing can be said yet" in text
    assert "| cells | 18 missing |" in text
    assert not (tmp_path / "figures").exists()


def test_numbers_beside_each_other(content: Content, page: blocks.Page) -> None:
    """The differences are those of the board; McNemar has a line for each pair of runs with predictions."""
    tables: Mapping[str, blocks.Table] = {table.name: table for table in page.tables}
    compared = [score.comparison for row in content.board.rows for score in row.scores.values() if score.comparison]
    assert len(tables["differences"].rows) == len(compared) == 4
    assert len(tables["mcnemar"].rows) == sum(comparison.pairs for comparison in compared) == 10
    cells = {cell.text for row in tables["differences"].rows for cell in row}
    assert {f"{100 * comparison.mean:+.2f}" for comparison in compared} <= cells
