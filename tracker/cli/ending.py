"""How a sweep ended, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracker.cli.console import stderr_console

if TYPE_CHECKING:
    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.options import SweepOptions
    from tracker.sweep.summary import Summary


def tell_enrolled(summary: Summary, study: Study, options: SweepOptions) -> int:
    """Say on stderr how a study that was only enrolled gets workers; return the exit code."""
    click.echo(f"{summary.left} of {len(study.cells)} cells wait for workers, here or on any machine:", err=True)
    storage = " --storage URL" if options.storage else ""
    click.echo(f"  tracker worker --study {study.name}{storage}", err=True)
    return 0


def tell_end(summary: Summary, study: Study, home: Home) -> int:
    """Say on stderr how the sweep ended and what to do next; return the exit code."""
    from tracker.study.home import Home
    from tracker.sweep.progress import say_on
    from tracker.tracking.server.session import server_stays

    say = say_on(stderr_console())
    where = "" if home == Home.find() else f" --home {home.root}"
    for row in summary.failures:
        say(f"failed: {row.name} ({row.failure_class}, {row.failure_kind}): {row.failure_message}")
    if summary.failures:
        again = f"tracker retry --study {study.name} --failed{where}"
        say(f"{len(summary.failures)} cells failed; once the cause is mended: {again}")
    if summary.cancelled:
        say(f"{summary.cancelled} cells are cancelled")
    if summary.elsewhere:
        say(f"{summary.elsewhere} cells are being worked on by another sweep of this study")
    if summary.paused:
        say(f"paused {summary.paused}; tracker sweep --study {study.name} --resume{where} goes on")
    elif summary.interrupted:
        say("stopped; the same command goes on where the cells stand")
    elif summary.left:
        say(f"{summary.left} of {len(study.cells)} cells are not done; the same command goes on")
    if not summary.complete:
        return 1
    say(f"browse the runs:  {summary.url if server_stays(home) else f'tracker ui{where}'}")
    say(f"other metrics:    tracker compare --study {study.name} --metric last_acc{where}")
    say(f"all on one page:  tracker report --study {study.name} -o report{where}")
    return 0
