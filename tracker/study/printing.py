"""Text from outside as it can be shown: names of files in a terminal, addresses without their passwords."""

from __future__ import annotations

import re
import unicodedata

UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's control characters, bytes that are not UTF-8, and separators of lines and paragraphs."""

TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal show what follows in another direction."""


def printable(text: str) -> str:
    r"""Escape what a terminal would obey or could not show: a newline as `\n`, an escape as `\x1b`.

    A byte of a file name that is not UTF-8 is shown as `\xff`. Other text, in any script, stays as it is.
    """
    return "".join(_shown(character) for character in text)


def harmless(text: str) -> str:
    """As `printable` for a text of several lines: their ends and tabs stay."""
    if text.isprintable():
        return text
    return "".join(character if character in "\n\t" else _shown(character) for character in text)


def shown(uri: str) -> str:
    """Return an address fit for a message, a log and a journal: without user and password, and what follows a `?`."""
    if uri.startswith("sqlite:"):
        return uri
    scheme, mark, rest = uri.partition("://")
    if not mark:
        scheme, rest = "", uri
    # The last @: a password that should have been quoted may hold others, and slashes.
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}"


def markdown_text(text: str) -> str:
    """Return text for Markdown that says what it says: no HTML, no links, no pictures fetched from elsewhere."""
    escaped = re.sub(r"([\\`*_\[\]!|#>])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in UNPRINTABLE or character in TURNING:
        return repr(character)[1:-1]
    return character
