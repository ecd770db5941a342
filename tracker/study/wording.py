"""Numbers with their nouns, as messages have them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 row`, `1,024 rows`.

    Args:
        plural: of the noun, where it takes more than an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
