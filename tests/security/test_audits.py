"""What comes with the program: published advisories about it, and its licences."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.security.stranger import Stranger

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 21)


def script(name: str) -> ModuleType:
    """Load a script of the folder `audit`."""
    spec = importlib.util.spec_from_file_location(f"audit_{name}", ROOT / "audit" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def advisories() -> Iterator[ModuleType]:
    """The script behind `make audit`."""
    yield script("advisories")


@pytest.fixture(scope="module")
def licences() -> Iterator[ModuleType]:
    """The script that writes docs/licences.md."""
    yield script("licences")


@pytest.fixture(scope="module")
def packages(licences: ModuleType) -> list[Any]:
    """What the runtime and the extras bring here; an extra may not be installed."""
    known, _ = licences.packages()
    return list(known)


def found(*packages: dict[str, Any]) -> dict[str, Any]:
    """Return a document as pip-audit prints it."""
    return {"dependencies": list(packages), "fixes": []}


FLAW = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"], "description": "bad"}
BAD = {"name": "a", "version": "1.0", "vulns": [FLAW]}
GOOD = {"name": "b", "version": "1.0", "vulns": []}
SKIPPED = {"name": "a", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_an_advisory_fails(advisories: ModuleType) -> None:
    """An advisory ends the audit with 1, and is told with the version that mends it."""
    outcome = advisories.judge([found(BAD, GOOD)], ["a", "b"])
    assert outcome.exit_code == 1
    assert outcome.lines()[0] == "advisory: a 1.0: PYSEC-2026-1, mended in 2.0"


def test_a_known_advisory_passes_until_its_day(advisories: ModuleType) -> None:
    """An exception is for one package, by the advisory's id or an alias, with a reason, and for a time."""
    known = advisories.Known("CVE-2026-1", "a", "not called here", date(2026, 12, 1))
    before = advisories.judge([found(BAD, GOOD)], ["a", "b"], [known], TODAY)
    assert before.exit_code == 0 and "not called here" in "".join(before.lines())
    assert advisories.judge([found(BAD)], ["a"], [known], known.expires).exit_code == 1
    other = advisories.Known("CVE-2026-1", "b", "another package", date(2026, 12, 1))
    assert advisories.judge([found(BAD)], ["a"], [other], TODAY).exit_code == 1


def test_exceptions_are_short(advisories: ModuleType) -> None:
    """Each has a reason and ends within half a year, and names a package that is installed."""
    names = advisories.pinned(ROOT / "constraints.txt")
    assert len(names) > 100
    for known in advisories.KNOWN:
        assert known.reason and known.package in names and (known.expires - date.today()).days <= 183


def test_nobody_to_ask_is_a_warning(advisories: ModuleType) -> None:
    """Without an answer, or with one that knows no package, nothing is claimed and nothing fails."""
    for documents in ([], [found()], [found(SKIPPED)]):
        outcome = advisories.judge(documents, ["a"])
        assert outcome.exit_code == 0
        (line,) = outcome.lines()
        assert line.startswith("warning: no advisory service could be asked; nothing was checked")


def test_what_one_service_does_not_know_another_may(advisories: ModuleType) -> None:
    """Packages count as checked once one service knew them; the others are named."""
    outcome = advisories.judge([found(SKIPPED, GOOD), found(BAD)], ["a", "b", "c"])
    assert outcome.exit_code == 1 and outcome.unchecked == {"c"}
    assert "warning: 1 packages not checked: c" in outcome.lines()


@pytest.mark.soak
def test_pip_audit_itself(
    advisories: ModuleType, server: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip-audit, asking a real server that speaks OSV's language, finds what is told of a pinned version."""
    pytest.importorskip("pip_audit")
    pins = tmp_path / "constraints.txt"
    pins.write_text("# pins\nJinja2==2.4.1\n")
    services = {"OSV": ("-s", "osv", "--osv-url", f"{server.uri}/v1/query")}
    assert advisories.audit(pins, services).lines()[0].startswith("warning: no advisory service")
    affected = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "ranges": [], "versions": ["2.4.1"]}
    flaw = {"id": "GHSA-0", "summary": "bad", "details": "bad", "modified": "2026-01-01T00:00:00Z"}
    server.answers["/v1/query"] = {"vulns": [{**flaw, "affected": [affected]}]}
    outcome = advisories.audit(pins, services)
    assert outcome.exit_code == 1 and outcome.findings == ("jinja2 2.4.1: GHSA-0, mended in no version yet",)
    server.answers["/v1/query"] = {}
    assert advisories.audit(pins, services).lines() == ["1 packages checked, 0 advisories"]


def test_licences_are_listed(packages: list[Any]) -> None:
    """docs/licences.md has every package that the runtime and the extras bring here, under the licence it has."""
    listed = dict(
        line.strip("| ").replace("**", "").split(" | ")[:2]
        for line in (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| package |")
    )
    assert len(listed) > 150 and len(packages) > 100
    wrong = [each for each in packages if listed.get(each.name) != each.licence]
    assert not wrong, "run `.venv/bin/python audit/licences.py`"


def test_no_licence_is_unread(licences: ModuleType, packages: list[Any]) -> None:
    """Each is on the list of those that ask for the notice alone, or on that of the others, with what it means."""
    assert {each.name: each.licence for each in packages if licences.unlisted(each.licence)} == {}
    for licence, meaning in licences.UNUSUAL.items():
        assert meaning and licence in (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", []),
        ("Apache-2.0 AND MIT", []),
        ("AGPL-3.0-only OR MIT", []),
        ("AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("MIT AND AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("", [""]),
    ],
)
def test_unlisted(expression: str, expected: list[str], licences: ModuleType) -> None:
    """All parts joined by AND must be listed, one of those joined by OR; no licence at all is none that was read."""
    assert licences.unlisted(expression) == expected


def test_users_get_no_strong_copyleft(packages: list[Any]) -> None:
    """What users install, and images hold, has no licence that would reach the program itself."""
    reached = [each.name for each in packages if "GPL" in each.licence.replace("LGPL", "") and not each.at_work_alone]
    assert reached == []
