"""Deliver to MLflow what earlier processes left in their journals."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from tracker.study.home import Home
from tracker.tracking.batches import MAX_METRICS
from tracker.tracking.client import shown
from tracker.tracking.delivery import ENDED_TAG, Delivery, Differs, Refused, Undelivered
from tracker.tracking.events import Event, Finish, Metrics, Open, Tags
from tracker.tracking.journal import FILES, REFUSED, SUFFIX, Journal
from tracker.tracking.server.addresses import store_name
from tracker.tracking.sharing import Company


@dataclass(frozen=True)
class Replayed:
    """What became of the journals that earlier processes left.

    Args:
        delivered: names of the runs that are now complete in MLflow.
        pending: journals that are still here, each with the reason.
        problems: what could not be delivered and never will be, a sentence each.
    """

    delivered: tuple[str, ...]
    pending: tuple[str, ...]
    problems: tuple[str, ...]


def replay(home: Home, uri: str) -> Replayed:
    """Deliver what earlier processes could not.

    Journals of living processes are left to them. A run whose process died without finishing it
    is ended as KILLED, at the time of its last sign of life, with a tag that says why: no run
    stays RUNNING. Where the run was opened again later, by another machine say, that one decides
    how it stands, and only what it lacks is added.

    Writes: to MLflow; removes the journals it has delivered.
    """
    delivered: list[str] = []
    pending: list[str] = []
    problems: list[str] = []
    away: str | None = None
    for path in sorted(home.journal.glob(f"*{SUFFIX}")):
        journal = Journal.take(path)
        if journal is None:
            continue
        problems += journal.problems
        start = next((event for event in journal.events if isinstance(event, Open)), None)
        if start is None:
            journal.remove() if not journal.problems else journal.set_aside()
            continue
        if start.store not in (uri, store_name(home, uri)):
            pending.append(f"{path}: it belongs to MLflow at {shown(start.store)}")
            journal.close()
            continue
        if away is None:
            company = Company(home.journal, start.key)
            away, refused = _deliver_all(journal, Delivery(uri, journal.files, last_out=company.last_out))
            problems += [f"{start.name}: {problem}" for problem in refused]
        if away is not None:
            pending.append(f"{path}: {away}")
            journal.close()
            continue
        delivered.append(start.name)
        journal.set_aside() if refused or journal.problems else journal.remove()
    for folder in home.journal.glob(f"*{FILES}"):
        if not folder.with_suffix(SUFFIX).exists() and not folder.with_suffix(REFUSED).exists():
            shutil.rmtree(folder, ignore_errors=True)
    return Replayed(tuple(delivered), tuple(pending), tuple(problems))


def _deliver_all(journal: Journal, delivery: Delivery) -> tuple[str | None, list[str]]:
    """Send every event in order; return why that had to end early, and what was refused."""
    refused: list[str] = []
    events = [*journal.events, *_ending(journal.events)]
    done = 0
    while done < len(events):
        try:
            done += delivery.deliver(events[done : done + MAX_METRICS])
        except Differs:
            continue
        except Undelivered as error:
            return str(error), refused
        except Refused as error:
            refused.append(f"MLflow refused {type(events[done]).__name__.lower()}: {error}")
            done += 1
    return None, refused


def _ending(events: list[Event]) -> list[Event]:
    """Return what a run that just stops still needs: a reason and an end."""
    for event in reversed(events):
        if isinstance(event, Finish):
            return []
        if isinstance(event, Open):
            break
    times = [event.time if isinstance(event, Metrics) else event.start_time
             for event in events if isinstance(event, (Metrics, Open))]  # fmt: skip
    reason = "its process ended without finishing it: killed, out of memory, or power lost"
    return [Tags({ENDED_TAG: reason}), Finish("KILLED", max(times))]
