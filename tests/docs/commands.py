"""The command lines of a page, in order, as somebody would type them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
SHELLS = "bash|sh|shell|console"


@dataclass(frozen=True)
class Command:
    """One command line of a page.

    Args:
        page: the file's name.
        line: where it stands there.
        text: as typed, continued lines joined, its comment left in; a script in one piece.
    """

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands_of(page: str, text: str | None = None) -> list[Command]:
    """Return a page's command lines.

    Args:
        text: read instead of the page.
    """
    content = PAGES[page].read_text(encoding="utf-8") if text is None else text
    found = []
    for block in re.finditer(rf"^ *```(?:{SHELLS})\n(.*?)^ *```$", content, flags=re.MULTILINE | re.DOTALL):
        first = content[: block.start(1)].count("\n") + 1
        if block[1].lstrip().startswith("#!") or "<<" in block[1]:
            found.append(Command(page, first, block[1]))  # a script
            continue
        pending, begun = "", first
        for number, line in enumerate(block[1].splitlines(), first):
            if not pending:
                begun = number
            typed = line.strip().removeprefix("$ ")
            pending += typed.removesuffix("\\")
            if not typed.endswith("\\"):
                if pending and not pending.startswith("#"):
                    found.append(Command(page, begun, pending))
                pending = ""
    return found
