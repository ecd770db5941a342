"""Predictions as a table, as CSV and as JSON.

Names of classes and files may hold anything; none reaches a terminal as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from tracker.deploy.opening import Opened
from tracker.deploy.predicting import Prediction, Unreadable
from tracker.study.printing import printable

FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula."""


def table(found: Sequence[Prediction]) -> Table:
    """Return a row for each class of each image."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("image", "class"):
        made.add_column(name, overflow="fold")
    made.add_column("probability", justify="right")
    for image, rank, name, probability in _rows(found):
        made.add_row(Text(image if rank == 1 else ""), Text(name), f"{probability:.4f}")
    return made


def csv_text(found: Sequence[Prediction]) -> str:
    """Return CSV: image, rank from 1, class, probability; a name that a spreadsheet would run begins with a quote."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["image", "rank", "class", "probability"])
    for image, rank, name, probability in _rows(found):
        writer.writerow([_harmless(image), rank, _harmless(name), repr(probability)])
    return out.getvalue()


def document(network: Opened, found: Sequence[Prediction], failed: Sequence[Unreadable]) -> dict[str, Any]:
    """Return plain JSON values."""
    return {
        "model": network.what,
        "classes": list(network.classes),
        "predictions": [
            {
                "image": each.image,
                "class": each.top[0][0],
                "probability": each.top[0][1],
                "top": [{"class": name, "probability": probability} for name, probability in each.top],
            }
            for each in found
        ],
        "unreadable": [{"image": each.image, "reason": each.reason} for each in failed],
    }


def _rows(found: Sequence[Prediction]) -> Iterator[tuple[str, int, str, float]]:
    for each in found:
        for rank, (name, probability) in enumerate(each.top, start=1):
            yield printable(each.image), rank, printable(name), probability


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
