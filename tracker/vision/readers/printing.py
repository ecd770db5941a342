"""Names of files as a terminal, a table and a JSON file can show them."""

from __future__ import annotations

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


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in UNPRINTABLE or character in TURNING:
        return repr(character)[1:-1]
    return character
