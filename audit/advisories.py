"""Are there published advisories about the versions in constraints.txt?  `make audit`

pip-audit asks PyPI, then OSV where PyPI does not know. Behind a mirror without PyPI's JSON pages it
says "No known vulnerabilities found" of packages that it could not look up: here they count as not
checked. Exit code 1 where there is an advisory, or a known exception is past its date; 0 with a
warning where nobody could be asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300
SERVICES: dict[str, tuple[str, ...]] = {"PyPI": ("-s", "pypi"), "OSV": ("-s", "osv")}


@dataclass(frozen=True)
class Known:
    """An advisory that is known and does not stop the build.

    Args:
        advisory: its id, as `PYSEC-2026-1`, or an alias.
        package: as in constraints.txt.
        reason: why it does no harm here.
        expires: the day from which on it stops the build again, half a year ahead at most.
    """

    advisory: str
    package: str
    reason: str
    expires: date


KNOWN: tuple[Known, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of an audit.

    Args:
        checked: packages that a service knew.
        unchecked: packages that none knew.
        findings: advisories that no exception names, a line each.
        excused: those that one names.
        expired: exceptions past their date.
    """

    checked: frozenset[str]
    unchecked: frozenset[str]
    findings: tuple[str, ...]
    excused: tuple[str, ...]
    expired: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where something must be done."""
        return 1 if self.findings or self.expired else 0

    def lines(self) -> list[str]:
        """Say it."""
        said = [f"advisory: {finding}" for finding in self.findings]
        said += [f"known: {known}" for known in self.excused]
        said += [f"expired: {known}" for known in self.expired]
        if not self.checked:
            said.append("warning: no advisory service could be asked; nothing was checked. Run `make audit` elsewhere")
        elif self.unchecked:
            said.append(f"warning: {len(self.unchecked)} packages not checked: {', '.join(sorted(self.unchecked))}")
        if self.checked:
            said.append(f"{len(self.checked)} packages checked, {len(self.findings)} advisories")
        return said


def judge(
    documents: Iterable[dict[str, Any]], names: Iterable[str], known: Sequence[Known] = KNOWN, today: date | None = None
) -> Outcome:
    """Judge what pip-audit said.

    Args:
        documents: its JSON, one a service that was asked.
        names: all packages that should be checked, as pip-audit writes them.
    """
    day = today or datetime.now(UTC).date()
    checked: set[str] = set()
    findings: dict[str, None] = {}
    excused: dict[str, None] = {}
    for document in documents:
        for package in document["dependencies"]:
            if "skip_reason" in package:
                continue
            checked.add(package["name"])
            for found in package.get("vulns", ()):
                ids = {found["id"], *found.get("aliases", ())}
                mended = ", ".join(found.get("fix_versions", ())) or "no version yet"
                line = f"{package['name']} {package['version']}: {found['id']}, mended in {mended}"
                reason = next(
                    (each.reason for each in known if each.package == package["name"] and each.advisory in ids), None
                )
                if reason is None:
                    findings[line] = None
                else:
                    excused[f"{line} ({reason})"] = None
    expired = tuple(f"{each.advisory} of {each.package}, {each.expires}" for each in known if each.expires <= day)
    return Outcome(frozenset(checked), frozenset(names) - checked, tuple(findings), tuple(excused), expired)


def ask(requirements: Path, *service: str) -> dict[str, Any]:
    """Have pip-audit ask one service.

    Returns:
        Its JSON; without packages where the service does not answer.
    """
    command = (sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip")
    try:
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off", "--timeout", "15", *service],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        document: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {"dependencies": []}
    return document


def pinned(requirements: Path) -> list[str]:
    """Return the packages of a file of pins, their names as the index writes them."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return [line.partition("==")[0].lower().replace("_", "-").replace(".", "-") for line in lines if line]


def audit(requirements: Path, services: dict[str, tuple[str, ...]] | None = None) -> Outcome:
    """Ask the services in turn, until one has known every package."""
    documents: list[dict[str, Any]] = []
    names = pinned(requirements)
    outcome = judge(documents, names)
    for name, service in (services or SERVICES).items():
        print(f"asking {name} about {len(outcome.unchecked)} packages", file=sys.stderr)
        documents.append(ask(requirements, *service))
        outcome = judge(documents, names)
        if not outcome.unchecked:
            break
    return outcome


def main() -> int:
    """Audit constraints.txt."""
    outcome = audit(ROOT / "constraints.txt")
    print("\n".join(outcome.lines()))
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
