"""How much a tag of MLflow's holds."""

from __future__ import annotations

from collections.abc import Mapping

MAX_TAG = 7_900
"""MLflow takes 8,000 characters of a tag and silently drops the rest."""


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Cut long values at a line's end, and say so."""
    fitting = {}
    for name, value in tags.items():
        text = str(value)
        if len(text) > MAX_TAG:
            text = text[:MAX_TAG]
            text = text[: text.rfind("\n") if "\n" in text else None] + "\n\n(cut here)"
        fitting[name] = text
    return fitting
