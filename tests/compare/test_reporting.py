"""Rules of a study's report: golden files, nothing that can do harm, and every format says the same.

`WRITE_GOLDEN=1 pytest tests/compare/test_reporting.py` writes the golden files anew: read the
difference before it is committed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracker.compare.grading import Graded
from tracker.compare.history import History
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.reporting import blocks
from tracker.compare.reporting.channels import Channels, DatasetFacts
from tracker.compare.reporting.content import Content, published_content
from tracker.compare.reporting.cost import costs_of
from tracker.compare.reporting.data import COLUMNS, comparisons_csv, json_text
from tracker.compare.reporting.figures import NAMES, drawings_of
from tracker.compare.reporting.html import html
from tracker.compare.reporting.latex import ROWS_A_PAGE, latex
from tracker.compare.reporting.markdown import markdown
from tracker.compare.reporting.models import ModelFacts
from tracker.compare.reporting.page import page_of
from tracker.compare.reporting.protocol import protocol_of
from tracker.compare.reporting.write import TEXTS, check_folder, write_report
from tracker.compare.shift import shift_report
from tracker.study.errors import TrackerError, UsageError
from tracker.study.study import Study
from tracker.vision.images import Statistics

GOLDEN = Path(__file__).with_name("golden_report")
FILES = ("report.html", "report.md", "tables.tex", "comparisons.csv", "report.json")
IMAGES = 400
SEED = 7
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><path style="fill: #ffffff"/><text>t</text></svg>'
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{color:red}",
    "{{ 7 * 7 }}{% raw %}",
    "`</code><script>`",
    "[a link](javascript:alert(1))",
    "& % $ # _ { } ~ ^ \\input{x} | `",
)


@pytest.fixture(scope="module")
def content(small: Study, make_run: Any) -> Content:
    """A report's content with a bit of everything: two cells are not there, one run is of another commit."""
    generator = np.random.default_rng(SEED)
    accuracy = {"pretrain": 0.80, "finetune": 0.81, "minmax": 0.65}
    index = np.arange(IMAGES, dtype=np.int32)
    runs, grades = [], {}
    for number, cell in enumerate(small.cells[:-1]):
        chances = np.where(index < 200, 0.15, -0.15) + accuracy[cell.recipe.normalization]
        correct = generator.random(IMAGES) < np.clip(chances, 0, 1)
        best = float(correct.mean())
        tags = {
            "tracker.test_images": str(IMAGES), "tracker.train_images": "1000", "dataset.fingerprint": "f" * 16,
            "source.fingerprint": "resnet18 IMAGENET1K_V1 f37072fd", "device": "CPU, 2 threads",
            "git.commit": "0123456789abcdef" if number else "fedcba9876543210",
            "git.dirty": "false" if number else "true",
            "version.torch": "2.15.0", "tracker.shift_reference": "imagenet",
        }  # fmt: skip
        shift = {"pretrain": 0.1, "finetune": 0.0, "minmax": 0.7}[cell.recipe.normalization]
        metrics = {"best_acc": best, "last_acc": best - 0.0025 * (number % 2), "shift_mean": shift}
        status = "FAILED" if number == 8 else "FINISHED"
        run = make_run(cell, metrics, status, run_id=f"run-{number}", tags=tags, end_time=1_528_934_400_000 + number)
        runs.append(run)
        grades[run.run_id] = Graded(index, correct)
    board = build_leaderboard(small, runs, grades=grades)
    seconds = {run.run_id: [(0, 30.0 + number), (1, 31.0)] for number, run in enumerate(runs)}
    curves = {
        ("resnet18", f"digits, {tune}"): {"pretrain": [[0.5, 0.8], [0.6, 0.7]], "minmax": [[0.1, 0.2]]}
        for tune in ("full", "head")
    }
    return Content(
        study=small,
        board=board,
        others=(build_leaderboard(small, runs, "last_acc"),),
        pair=board,
        datasets=(
            DatasetFacts("digits", 1000, IMAGES, 0, 10, (1, 8, 8), ("f" * 16,), Statistics((0.3,), (0.37,)), "exact"),
        ),
        channels=(
            Channels("digits", "", "", (0.3,), (0.37,), "exact"),
            Channels("digits", "pretrain", "", (-0.81, -0.7, -0.47), (1.62, 1.65, 1.64), "exact"),
        ),
        models=(ModelFacts("resnet18", 11_689_512, 11_176_512, 512),),
        costs=tuple(costs_of(board, runs, seconds)),
        shift=shift_report(board, runs),
        protocol=protocol_of(small, board, runs),
        history=History(curves, ("resnet18",), ("digits, full", "digits, head"), board.settings, "small, test_acc"),
        commands=("tracker sweep --study small", "tracker report --study small -o DIR"),
    )


@pytest.fixture(scope="module")
def page(content: Content) -> blocks.Page:
    """Its page."""
    return page_of(content, {name: drawing.picture for name, drawing in drawings_of(content).items()})


@pytest.fixture(scope="module")
def empty(small: Study, content: Content) -> Content:
    """The content of a study of which nothing has run: no figures."""
    board = build_leaderboard(small, [])
    return replace(
        content, board=board, pair=board, others=(), costs=(), history=None,
        shift=shift_report(board, []), protocol=protocol_of(small, board, []),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(content: Content, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """The whole report in a new folder, and what it said it wrote."""
    folder = tmp_path_factory.mktemp("report") / "new" / "out"
    return folder, write_report(content, folder)


def check_golden(name: str, text: str) -> str:
    """Compare with a golden file, or write it where asked to; return it."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def pruned(text: str) -> str:
    """Take out of HTML what is not this test's: style sheet, its hash, pictures, version."""
    text = re.sub(r"<style>.*?</style>", "<style>STYLE</style>", text, flags=re.DOTALL)
    text = re.sub(r"sha256-[^&']*", "sha256-HASH", text)
    text = re.sub(r"base64,[A-Za-z0-9+/=]*", "base64,PICTURE", text)
    return re.sub(r"norm-tracker \d[\w.]*", "norm-tracker VERSION", text)


def test_golden_html(page: blocks.Page) -> None:
    """The page is as its golden file has it."""
    text = pruned(html(page, {picture.name: SVG for picture in page.pictures}))
    assert text == check_golden("report.html", text)


def test_golden_markdown(page: blocks.Page) -> None:
    """The Markdown is as its golden file has it."""
    text = markdown(page)
    assert text == check_golden("report.md", text)


def test_golden_latex(page: blocks.Page) -> None:
    """The tables are as their golden file has them."""
    text = latex(page)
    assert text == check_golden("tables.tex", text)


def test_golden_csv(content: Content) -> None:
    """The comparisons are as their golden file has them, numbers to nine digits: the last depend on the machine."""
    text = comparisons_csv(content.board)
    ours, golden = (list(csv.DictReader(StringIO(each))) for each in (text, check_golden("comparisons.csv", text)))
    assert len(ours) == len(golden) == 4
    for one, other in zip(ours, golden, strict=True):
        assert [*one][-len(COLUMNS) :] == list(COLUMNS)
        same({key: plain(value) for key, value in one.items()}, {key: plain(value) for key, value in other.items()})


def test_golden_json(content: Content) -> None:
    """The JSON is strict, and is as its golden file has it, numbers to nine digits."""
    text = re.sub(r'"version": "[\d.]+"', '"version": "VERSION"', json_text(content, tuple(drawings_of(content))))
    golden = json.loads(check_golden("report.json", text))
    same(json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON")), golden)


def plain(text: str) -> float | list[str] | str:
    """Read a field of a CSV: a number where it is one; what holds several is split."""
    try:
        return float(text)
    except ValueError:
        return re.split(r"[ =/]", text)


def same(one: Any, other: Any) -> None:
    """Compare documents, numbers to nine digits."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            same(mine, its)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-15)
    else:
        assert one == other


def test_golden_files_are_all_looked_at() -> None:
    """No golden file is left over."""
    assert {path.name for path in GOLDEN.iterdir()} == set(FILES)


class Reader(HTMLParser):
    """Collects what a page consists of, and sees that elements are closed as they were opened."""

    VOID = frozenset({"meta", "link", "img", "source"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_page(text: str) -> blocks.Page:
    """Return a page of every kind of block, with the same text wherever text can come from a user or a run."""
    table = blocks.Table(
        name="t",
        title=text,
        columns=(blocks.Column(text), blocks.Column(text, number=True), blocks.Column(text, prose=True)),
        rows=((blocks.Cell(text, text, "best"), blocks.Cell(text, tone="gap"), blocks.Cell(text)),),
        footer=((blocks.Cell(text), blocks.Cell(text, text, "second"), blocks.Cell(text)),),
        legend=text,
    )
    shown: tuple[blocks.Block, ...] = (
        table,
        blocks.Picture("p", text, text),
        blocks.Sentences(text),
        blocks.Items((text,)),
        blocks.Code(text),
    )
    section = blocks.Section("s", text, (*shown, blocks.Details(text, (replace(table, name="u"),))))
    return blocks.Page(text, text, (text,), (text, text), (section,))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    """Whatever a name holds, the page has the same elements and attributes as with a plain one, and shows the text."""
    harmless = Reader(html(hostile_page("plain"), {"p": SVG}))
    reader = Reader(html(hostile_page(text), {"p": SVG}))
    with_code = [tag for tag, _ in reader.tags if tag != "code"]
    assert with_code == [tag for tag, _ in harmless.tags if tag != "code"]
    assert [set(attributes) for tag, attributes in reader.tags if tag != "code"] == [
        set(attributes) for tag, attributes in harmless.tags if tag != "code"
    ]
    assert "".join(reader.texts).count(text.replace("`", "")) + "".join(reader.texts).count(text) > 10


def test_nothing_is_fetched_and_nothing_runs(page: blocks.Page, written: tuple[Path, list[Path]]) -> None:
    """The page names no address outside itself, in its pictures neither; it has no script and no inline style."""
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    reader = Reader(text)
    looked_at = 0
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "svg")
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            if name in ("src", "srcset", "href") and value is not None:
                looked_at += 1
                assert value.startswith(("#", "data:image/svg+xml;base64,")) or value == "data:,"
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 2 * len(page.pictures) == 2 * 5
    for picture in pictures:
        assert set(re.findall(r"https?://[^\"' ]+", picture)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert "<script" not in picture and "<image" not in picture
    assert "http" not in re.sub(r"base64,[^\"]+|http-equiv", "", text)
    assert looked_at >= len(pictures) + len(page.sections)


def test_the_policy_allows_this_style_sheet_only(page: blocks.Page) -> None:
    """The page tells the browser to take its own style sheet, by hash, and pictures that it carries."""
    text = html(page, {picture.name: SVG for picture in page.pictures})
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [each["content"] for tag, each in Reader(text).tags if each.get("http-equiv")]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_links_within_the_page_lead_somewhere(page: blocks.Page) -> None:
    """Every link of the page has its place, and no name is given twice."""
    tags = Reader(html(page, {picture.name: SVG for picture in page.pictures})).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"]
    assert len(links) == len(page.sections) >= 8
    assert set(links) <= set(names)
    assert len(names) == len(set(names))


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


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_markdown(text: str) -> None:
    """In Markdown no name becomes an element or a link, and no table falls apart."""
    lines = markdown(hostile_page(text)).splitlines()
    prose = re.sub(r"`[^`]*`", "", "\n".join(lines[: lines.index("```")]))
    assert set(re.findall(r"<(/?\w+)", prose)) <= {"u", "/u"}
    assert "](javascript" not in prose
    for line in lines:
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4


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
