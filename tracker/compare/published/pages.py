"""What `tracker compare` prints with --published and with --against published."""

from __future__ import annotations

from functools import cached_property

from rich.console import Group, RenderableType
from rich.text import Text

from tracker.compare.comparison import Rules
from tracker.compare.data import document
from tracker.compare.formats import render
from tracker.compare.markdown import markdown
from tracker.compare.published.against import Against
from tracker.compare.published.claims import check
from tracker.compare.published.data import against_document, dumped, judgement_document
from tracker.compare.published.findings import find
from tracker.compare.published.results import published_board
from tracker.compare.published.sections import Section, against_sections, judgement_sections
from tracker.compare.published.shown import SectionsView, sections_markdown, sections_text
from tracker.compare.scores import Leaderboard
from tracker.compare.terminal import LeaderboardView, terminal_text
from tracker.study.errors import UsageError


class PublishedPage:
    """The published leaderboard, and below it what it can say; CSV and LaTeX have the leaderboard alone.

    Args:
        baseline: of the leaderboard; the judgement is always against pretrain.
        rules: of the leaderboard.

    Raises:
        UsageError: the baseline is not one of the four settings.
    """

    def __init__(self, baseline: str | None = None, rules: Rules | None = None) -> None:
        self.board: Leaderboard = published_board(baseline, rules)
        self.findings = find(self.board if self.board.baseline == "pretrain" else published_board())
        self.claims = check(self.findings)

    @cached_property
    def sections(self) -> list[Section]:
        """The judgement's tables."""
        return judgement_sections(self.findings, self.claims)

    def view(self) -> RenderableType:
        """Return what a terminal shows."""
        return Group(LeaderboardView(self.board), Text(), SectionsView(self.sections))

    def text(self, form: str, width: int = 120) -> str:
        """Render it as text that ends with a newline.

        Args:
            form: one of `FORMATS`.
            width: of a table at most.
        """
        if form == "table":
            return f"{terminal_text(self.board, width)}\n{sections_text(self.sections, width)}"
        if form == "markdown":
            return f"{markdown(self.board)}\n{sections_markdown(self.sections)}"
        if form == "json":
            return dumped({**document(self.board), "judgement": judgement_document(self.findings, self.claims)})
        return render(self.board, form)


class AgainstPage:
    """A study's results beside the published ones."""

    def __init__(self, against: Against) -> None:
        self.against = against

    @cached_property
    def sections(self) -> list[Section]:
        """Its table."""
        return against_sections(self.against)

    def view(self) -> RenderableType:
        """Return what a terminal shows."""
        return SectionsView(self.sections)

    def text(self, form: str, width: int = 120) -> str:
        """Render it as text that ends with a newline.

        Args:
            form: table, markdown or json.
            width: of a table at most.

        Raises:
            UsageError: another format.
        """
        if form == "table":
            return sections_text(self.sections, width)
        if form == "markdown":
            return sections_markdown(self.sections)
        if form == "json":
            return dumped(against_document(self.against))
        raise UsageError(f"--against published has no format {form!r}", "accepted: table, markdown, json")
