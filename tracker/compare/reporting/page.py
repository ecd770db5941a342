"""From what is known of a study to the page that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tracker.compare.answer import answer
from tracker.compare.reporting.blocks import Page, Picture
from tracker.compare.reporting.circumstances import circumstance_sections
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.results import result_sections
from tracker.compare.wording import subtitle


def page_of(content: Content, pictures: Mapping[str, Picture]) -> Page:
    """Lay a report out: the answer first, then what it rests on.

    Args:
        pictures: the figures that there will be, by name.
    """
    board = content.board
    measured = sum(outcome.state == "measured" for outcome in board.outcomes)
    facts = [
        f"{board.metric}: {board.selection}",
        subtitle(board),
        f"{measured} of {len(board.outcomes)} cells measured",
    ]
    if content.protocol.last:
        ended = datetime.fromtimestamp(content.protocol.last / 1000, UTC)
        facts.append(f"newest run of {ended:%Y-%m-%d %H:%M} UTC")
    return Page(
        study=board.study,
        question=board.question,
        facts=tuple(facts),
        answer=tuple(answer(board)),
        sections=(*result_sections(content, pictures), *circumstance_sections(content, pictures)),
    )
