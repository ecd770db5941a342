"""The table of the self-check, a row at a time: on a GPU the whole of it takes many minutes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tracker.cli.console import echo_painted, painted, stderr_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.checkup.engine import Outcome

MARKS = ("same", "plain")
GAP = "  "


def run_self_check(place: Home, device: str, study: Study | None, *, compiled: bool, show: bool) -> list[Outcome]:
    """Hold the accelerations against the plain path, network by network; each row is printed as soon as it is complete.

    Args:
        compiled: `compile` too, where the device can have it.
        show: the table on stdout; else a line for each network on stderr.
    """
    from tracker.sweep.checkup.engine import columns, self_check, subjects_of
    from tracker.training.device import resolve_device

    resolved = resolve_device(device)
    subjects, asked = subjects_of(study, place, resolved), columns(resolved, compiled=compiled)
    widths = [max(len(str(subject)) for subject in subjects), *map(_width, asked)]
    if show:
        _print_head(["network", *asked], widths)
    found: list[Outcome] = []
    for number, subject in enumerate(subjects, start=1):
        own: list[Outcome] = []
        with _waiting(f"self-check, {number} of {len(subjects)}: {subject}") as tell:
            tell(next(iter(asked)))
            for outcome, after in zip(self_check(subject, resolved, asked), [*list(asked)[1:], ""], strict=True):
                own.append(outcome)
                tell(after)
        found += own
        if show:
            _print_row(own, widths)
        else:
            click.echo(f"{subject}: {_sum(own)}", err=True)
    if show:
        click.echo(_sum(found))
    return found


@contextmanager
def _waiting(what: str) -> Iterator[Callable[[str], None]]:
    """Yield what tells which acceleration is being looked at; where there is no terminal, one line must do."""
    console = stderr_console()
    if not console.is_interactive:
        click.echo(what, err=True)
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda acceleration: status.update(f"{what}: {acceleration}")


def _print_head(names: Sequence[str], widths: Sequence[int]) -> None:
    """Print the columns' names, those of several words one below the other, and a rule."""
    words = [_words(name) for name in names]
    height = max(map(len, words))
    click.echo()
    for line in range(height):
        cells = [own[line - height + len(own)] if line >= height - len(own) else "" for own in words]
        click.echo(GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    click.echo("─" * (sum(widths) + len(GAP) * (len(widths) - 1)))


def _print_row(outcomes: Sequence[Outcome], widths: Sequence[int]) -> None:
    """Print what became of a network, and below it why it would be trained plainly."""
    from tracker.study.printing import harmless

    same, plain = MARKS
    cells = [outcomes[0].subject.ljust(widths[0])]
    for outcome, width in zip(outcomes, widths[1:], strict=True):
        cells.append(same.ljust(width) if outcome.reason is None else painted(plain.ljust(width), "red"))
    echo_painted(GAP.join(cells).rstrip())
    for outcome in outcomes:
        if outcome.reason is not None:
            click.echo(f"{GAP}{outcome.subject}, {outcome.acceleration}: {harmless(outcome.reason)}")


def _sum(outcomes: Sequence[Outcome]) -> str:
    plain = sum(outcome.reason is not None for outcome in outcomes)
    behind = "; a trial takes the plain path for the others" if plain else ""
    return f"{len(outcomes) - plain} of {len(outcomes)} compute what the plain path does{behind}"


def _words(name: str) -> list[str]:
    return name.replace("_", "_ ").split()


def _width(name: str) -> int:
    return max(map(len, [*_words(name), *MARKS]))
