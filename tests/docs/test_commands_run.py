"""Every command line in README and docs is run, page by page, or says why it is not.

A page is a story: its commands run in its order, in one folder, each with what the ones before it made. What
is too large for a test, or not here, has a stand-in or a reason in `rules.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from benchmarks.postgresql import lacking, temporary_server
from tests.docs.commands import PAGES, Command, commands_of
from tests.docs.rules import INSTEAD, NOT_RUN, PROLOGUE, instead, why_not
from tests.docs.stage import Stage, is_run
from tests.ledger.conftest import make_database
from tracker.cli import main as program

WITH_COMMANDS = [name for name in PAGES if any(map(is_run, commands_of(name)))]
CHEAP = re.compile(r"^tracker (status|data list|data stats|completion \w+|compare --published)$")
"""Commands that a home in which nothing has run answers at once."""


@pytest.fixture(scope="session")
def database() -> Iterator[Callable[[], str]]:
    """A function that makes a database on a PostgreSQL server of our own."""
    if reason := lacking():
        pytest.skip(reason)
    with temporary_server(durable=False) as server:
        yield lambda: make_database(server)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In the order of the page, each ends as it should, without a traceback and without control characters."""
    stage = Stage(tmp_path, lambda: request.getfixturevalue("database")())
    try:
        for step in PROLOGUE.get(page, ()):
            stage.prepare(step)
        for command in filter(is_run, commands_of(page)):
            try:
                stage.run(command)
            except AssertionError as error:
                pytest.fail(f"{command}\n{error}")
    finally:
        stage.close()


def test_the_cheap_ones_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What needs nothing that was made before is run in the default tests too, in this process."""
    bare = (re.sub(r"\s+#.*", "", command.text) for page in PAGES for command in commands_of(page))
    chosen = sorted({line for line in bare if CHEAP.search(line)} | {"tracker --help"})
    assert len(chosen) >= 3, chosen
    monkeypatch.chdir(tmp_path)
    for line in chosen:
        monkeypatch.setattr(sys, "argv", line.split())
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert not ended.value.code, line
        printed = "".join(capsys.readouterr())
        assert printed and "\x1b" not in printed, line


def test_every_command_is_run_or_has_a_reason() -> None:
    """No command line is passed over: of those that are not run each has its reason, and every rule is used."""
    everything = [command for page in PAGES for command in commands_of(page)]
    run = [command for command in everything if is_run(command)]
    assert len(everything) > 200
    assert len(run) > 120
    for rule in NOT_RUN:
        assert rule.reason
    unused = [rule.piece for rule in INSTEAD if not any(fnmatch(command.page, rule.page) for command in everything)]
    assert not unused


def test_commands_are_found_in_blocks() -> None:
    """Continued lines are one command, a script is one, comments and output are none."""
    typed = "```bash\n# first\n$ tracker a \\\n    --b  # why\n\ntracker c\n```\n"
    text = typed + "```text\ntracker d\n```\n```sh\n#!/bin/sh\necho\n```\n"
    assert commands_of("README.md", text) == [
        Command("README.md", 3, "tracker a --b  # why"),
        Command("README.md", 6, "tracker c"),
        Command("README.md", 12, "#!/bin/sh\necho\n"),
    ]


def test_rules_do_what_they_say() -> None:
    """A line that needs a card or a cluster is not run, and a large one becomes small."""
    assert why_not("clusters.md", "kubectl get pods") == "needs Kubernetes"
    assert why_not("README.md", "tracker sweep --study quickstart") is None
    assert instead("gpu.md", "tracker sweep --study norm-test --device cuda:1", {}) == (
        "tracker sweep --study norm-test --device cpu"
    )
    assert instead("x.md", "tracker export --study a -o winner", {}) == "tracker export --study a -o winner --overwrite"
    assert instead("x.md", "tracker retry --cell 146eacdb8707", {"cell": "0123"}) == "tracker retry --cell 0123"
