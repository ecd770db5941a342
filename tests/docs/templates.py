"""What the program can say: every text of its code as a pattern, with a gap where a value goes."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tracker

PACKAGE = Path(tracker.__file__).parent
GAP = "\0"
LEAST_LETTERS = 8
"""A text of fewer letters beside its gaps would match anything."""


@dataclass(frozen=True)
class Template:
    """One text of the code.

    Args:
        text: with a NUL for each value that is put in.
        place: file and line.
    """

    text: str
    place: str

    def gives(self, line: str) -> bool:
        """Say whether this is the line, with values put in."""
        pieces = self.text.split(GAP)
        if not all(piece in line for piece in pieces):
            return False
        return re.fullmatch(".+?".join(map(re.escape, pieces)), line) is not None

    @property
    def letters(self) -> int:
        """How many letters stand in it."""
        return sum(letter.isalpha() for letter in self.text)


@cache
def templates() -> tuple[Template, ...]:
    """Return the texts of the package that say something, docstrings left out."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if id(node) not in docstrings and (text := _text(node)) is not None:
                found.append(Template(text, f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"))
    return tuple(template for template in found if template.letters >= LEAST_LETTERS)


@cache
def lines() -> tuple[Template, ...]:
    """Return the lines of all texts."""
    each = (Template(part.strip(), text.place) for text in templates() for part in text.text.split("\n"))
    return tuple(line for line in each if line.letters >= LEAST_LETTERS)


def said(line: str) -> bool:
    """Say whether a text of the code gives this line, the whole of it; `...` in it stands for anything."""
    line = line.strip()
    if any(template.gives(line.replace("...", "X")) for template in lines()):
        return True
    pieces = [piece for piece in line.split("...") if sum(map(str.isalpha, piece)) >= LEAST_LETTERS]
    return "..." in line and bool(pieces) and all(any(piece in each.text for each in lines()) for piece in pieces)


def _text(node: ast.AST) -> str | None:
    """Return a string constant, an f-string, or a sum of them."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else (left or GAP) + (right or GAP)
    return None
