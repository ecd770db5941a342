"""Rules of the documentation: it is complete, its links lead somewhere, and what it tells to type can be typed."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

import tracker
from tracker.cli.main import cli
from tracker.study.load import load_study
from tracker.study.metrics import METRICS
from tracker.study.recipe import DATASET_KINDS, NORMALIZATIONS, DatasetSpec, Recipe
from tracker.study.study import Study

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
PROGRAM = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S* )*(?:\S*/)?(?:tracker|python3? -m tracker) (?=\S)")
"""How a line of a terminal begins that runs this program."""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(command: click.Command = cli, path: str = "tracker") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its path."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in any of these languages ("" for none given)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def lines_to_type(text: str) -> list[str]:
    """Return the lines of a terminal that run this program, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [match.string for line in joined.splitlines() if (match := PROGRAM.match(line.strip() + " "))]


def parse(line: str) -> None:
    """Parse a command line as the program would, and run nothing.

    Raises:
        click.UsageError: an unknown command or option, a value of the wrong kind, or one too few.
    """
    text = re.split(r"\s(?:\||&&|;|>|2>)\s?", PROGRAM.sub("", line.strip(), count=1))[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click.Command, "invoke", lambda *_: None)
        patch.setattr(click.Path, "convert", lambda _self, value, *_: value)  # the files of an example are not here
        cli.main(shlex.split(text, comments=True), prog_name="tracker", standalone_mode=False)


def headings(page: Path) -> set[str]:
    """Return the anchors a page has, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_reference_is_fresh() -> None:
    """docs/reference.md is what the code says. If this fails: `make docs`.

    In a process of its own: click keeps a command's help option as it was first asked for, so a test that calls a
    command without its group would change the text.
    """
    check = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_check_tells_a_stale_reference(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` writes nothing and ends with 1 if the file is stale or missing; without it the file is written."""
    monkeypatch.setattr(generator, "REFERENCE", tmp_path / "reference.md")
    assert generator.main(["--check"]) == 1
    assert not generator.REFERENCE.exists()
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    generator.REFERENCE.write_text(REFERENCE + "\n")
    assert generator.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert generator.main(["--chek"]) == 2


def test_every_command_and_option_is_documented() -> None:
    """The reference has a section for each command, with each of its options and its whole help."""
    sections = dict(re.findall(r"^### ([^\n]+)\n\n```text\n(.*?)^```$", REFERENCE, flags=re.MULTILINE | re.DOTALL))
    found = dict(commands())
    assert set(sections) == set(found)
    assert len(found) >= 16
    looked_at = 0
    for path, command in found.items():
        for option in (option for each in command.params if isinstance(each, click.Option) for option in each.opts):
            looked_at += 1
            assert re.search(rf"{re.escape(option)}\b", sections[path]), f"{path} {option}"
    assert looked_at > 50


def test_every_key_is_documented() -> None:
    """Study, recipe and dataset keys, kinds and normalizations each have a line or a word."""
    keys = [*Study.model_fields, *Recipe.model_fields, *DatasetSpec.model_fields]
    assert len(keys) == 10 + 21 + 8
    for key in keys:
        assert re.search(rf"^\| `{key}` \| .+ \| .+ \| .+ \|$", REFERENCE, flags=re.MULTILINE), key
    for word in (*DATASET_KINDS, *NORMALIZATIONS):
        assert word in REFERENCE


def test_every_metric_is_documented() -> None:
    """Each metric stands with unit, scope and meaning."""
    for metric in METRICS.values():
        assert f"| `{metric.name}` | {metric.unit} | {metric.scope} | {metric.meaning} |" in REFERENCE
    assert len(METRICS) == 18


def test_every_environment_variable_is_documented() -> None:
    """Whatever the code reads from the environment is on the page."""
    package = Path(tracker.__file__).parent
    read: set[str] = set()
    for path in package.rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get\(|\[)\s*\"(\w+)\"", path.read_text(encoding="utf-8")))
    assert {"TRACKER_HOME", "DISPLAY"} <= read
    for name in (*read, "MLFLOW_TRACKING_URI", "NO_COLOR"):
        assert f"`{name}`" in REFERENCE, name


def test_links_lead_somewhere() -> None:
    """A relative link's file is there, and so is its heading."""
    looked_at = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^()\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", target):
                continue
            looked_at += 1
            name, _, anchor = target.partition("#")
            file = (page.parent / name) if name else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in headings(file), f"{page.name}: {target}"
    assert looked_at >= 12


def test_what_is_to_be_typed_parses() -> None:
    """Every command line of this program in README and docs has commands and options that there are."""
    looked_at = 0
    for page in PAGES:
        if page.name == "reference.md":
            continue  # help, not a terminal; `test_examples_in_help_parse`
        for text in blocks(page, "", "bash", "sh", "shell", "console", "text"):
            if re.search(r"^[eE]rror: ", text, flags=re.MULTILINE):
                continue  # tests/docs/test_messages.py runs those
            for line in lines_to_type(text):
                looked_at += 1
                try:
                    parse(line)
                except click.ClickException as error:
                    pytest.fail(f"{page.name}: {line}\n{error.format_message()}")
    assert looked_at >= 8


def test_examples_in_help_parse() -> None:
    """The examples in a command's own help have options that there are."""
    looked_at = 0
    for path, command in commands():
        overview = [re.split(r"\s{2,}", line.strip())[0] for line in lines_to_type(command.help or "")]
        for line in (*overview, *lines_to_type(command.epilog or "")):
            looked_at += 1
            try:
                parse(line)
            except click.ClickException as error:
                pytest.fail(f"{path}: {line}\n{error.format_message()}")
    assert looked_at >= 40


def test_every_command_has_examples() -> None:
    """The help of whatever can be run ends with examples, of that command first of all."""
    for path, command in commands():
        if not isinstance(command, click.Group):
            text = command.epilog or ""
            assert text.startswith("\b\nExamples:\n"), f"{path}: give it an epilog of `tracker.cli.examples.examples`"
            assert any(f"{path}" in line for line in text.splitlines()), path


def test_help_fits_a_narrow_terminal() -> None:
    """At 80 columns no line of any help is cut or broken by the terminal."""
    for path, command in commands():
        context = click.Context(command, info_name=path, terminal_width=80, max_content_width=80)
        for line in command.get_help(context).splitlines():
            assert len(line) <= 80, f"{path}: {line}"


def test_commands_in_experiments_parse() -> None:
    """The Command line in a study's header can be typed."""
    files = sorted((ROOT / "experiments").glob("*.yaml"))
    for file in files:
        header = re.sub(r"\\\n#\s+", "", file.read_text(encoding="utf-8"))
        match = re.search(r"^# Command: +(tracker .+?)(?: {2,}\(.*\))?$", header, flags=re.MULTILINE)
        assert match is not None, file.name
        parse(match[1])
    assert len(files) == 8


@pytest.mark.parametrize(
    "line",
    [
        "tracker swep --study quickstart",
        "tracker sweep --studdy quickstart",
        "tracker sweep",
        "tracker sweep --study quickstart --workers many",
        "tracker compare --metric test_acc",
        "tracker server begin",
        "tracker ui extra",
    ],
)
def test_what_cannot_be_typed_is_found(line: str) -> None:
    """The check above can fail."""
    assert lines_to_type(line)
    with pytest.raises(click.UsageError):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "$ tracker sweep --study quickstart   # a comment",
        "TRACKER_HOME=/tmp/x tracker compare --study a --format json | head",
        ".venv/bin/tracker ui --no-open",
        "python -m tracker server status",
        "tracker sweep --study a --weights-dir NOT-HERE",
    ],
)
def test_what_can_be_typed_is_let_through(line: str) -> None:
    """Prompts, variables, paths, comments, pipes and placeholders are no mistakes."""
    assert lines_to_type(line)
    parse(line)


def test_studies_in_the_guide_load(tmp_path: Path) -> None:
    """The guide's complete study loads, and each fragment does when it is put into that study."""
    texts = blocks(DOCS / "studies.md", "yaml")
    documents: list[dict[str, Any]] = [yaml.safe_load(text) for text in texts]
    (complete,) = (document for document in documents if "question" in document)
    assert len(load(complete, tmp_path).cells) == 20
    for document in documents:
        merged = {name: section for name, section in complete.items() if name not in document}
        for name, section in document.items():
            whole = isinstance(section, dict) and name != "axes"
            merged[name] = {**complete.get(name, {}), **section} if whole else section
        for key in document.get("axes", {}):
            merged["recipe"] = {name: value for name, value in merged["recipe"].items() if name != key}
        load(merged, tmp_path)
    assert len(documents) >= 3


def load(document: dict[str, Any], folder: Path) -> Study:
    """Write a document as a study file and load it."""
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_study(str(file))


def test_python_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python block in the docs runs as it stands, in an empty folder; if it fails, the traceback names its page."""
    monkeypatch.chdir(tmp_path)
    found = [(page.name, block) for page in PAGES for block in blocks(page, "python")]
    assert found
    for page, block in found:
        exec(compile(block, page, "exec"), {"__name__": "__main__"})  # noqa: S102
