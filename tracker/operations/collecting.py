"""Find what of a home can go, and let it go: `tracker gc`.

The ledger's rows decide. Nothing of a living worker and nothing written within the last hour is
touched, and each thing is looked at again when its turn comes. A kill in between leaves each thing as
it was or gone: folders lose their name before their files, and a run's files go before its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tracker.ledger.opening import existing_ledger
from tracker.ledger.rows import CellRow
from tracker.operations import garbage_disk, garbage_runs
from tracker.operations.backing_up import alone
from tracker.operations.garbage import RECENT_SECONDS, Group, measure, path_item
from tracker.operations.stores import out_of_reach, remote_tracking, tracking_store
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home

OLDER_THAN = 30 * 24 * 3600.0
"""What somebody may want back is kept for so long."""


@dataclass(frozen=True)
class Garbage:
    """What was found.

    Args:
        groups: none of them empty.
        named: what stays, and why somebody should look at it.
    """

    groups: list[Group]
    named: list[str]

    @property
    def bytes(self) -> int:
        """What all of it frees."""
        return sum(group.bytes for group in self.groups)


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Args:
        spared: names of what was in use again when its turn came.
        failed: a line for each thing that could not be removed.
    """

    count: int
    bytes: int
    spared: list[str]
    failed: list[str]


def collect(
    home: Home,
    *,
    storage: str | None = None,
    older_than: float = OLDER_THAN,
    checkpoints: bool = False,
    data: bool = False,
    backups: Path | None = None,
) -> Garbage:
    """Find what can go. Changes nothing.

    Args:
        storage: URL of the trial database; None for the local one.
        older_than: seconds for which deleted runs, files of no run and states outside the grid are kept.
        checkpoints: also those that are not their configuration's best.
        data: also packed datasets that no study uses.
        backups: a folder of backups, to look for half ones.

    Raises:
        TrackerError: a database cannot be read.
    """
    if not home.root.is_dir():
        raise UsageError(f"{home.root} is not there: nothing to look at", "name another home with --home DIR")
    rows, definitions = _ledger(home, storage)
    groups = [
        *garbage_disk.training_states(home, rows, older_than),
        garbage_disk.scratch(home),
        garbage_disk.journal_files(home),
        garbage_disk.cache(home),
        garbage_disk.temporary(home),
    ]
    named = list(garbage_disk.journals_that_stay(home))
    if data:
        groups.append(_unused_data(home, definitions))
    if backups is not None:
        groups.append(garbage_disk.half_backups(backups))
    store = tracking_store(home)
    if address := remote_tracking(home):
        named.append(f"MLflow at {address}: not looked at; `mlflow gc` on its own machine")
    if store is not None:
        from tracker.tracking.trash import known  # two seconds of imports

        in_trash, stays = garbage_runs.deleted(home, store.url, rows, older_than)
        groups.append(in_trash)
        named += stays
        everything = known(home, store.url)
        if not any(out_of_reach(home, ["mlflow-artifacts:/"])):
            groups.append(garbage_runs.orphans(home, everything, older_than))
        if checkpoints:
            groups.append(garbage_runs.checkpoints(home, everything, rows))
    return Garbage([group for group in groups if group.items], named)


def remove(home: Home, garbage: Garbage, say: Callable[[str], None] = lambda _: None) -> Removed:
    """Remove what was found, one thing after another; what is in use again by then stays.

    Args:
        say: told of each thing removed.

    Raises:
        TrackerError: a backup or another `tracker gc` of this home runs.
    """
    count = freed = 0
    spared, failed = [], []
    with alone(home):
        for group in garbage.groups:
            for item in group.items:
                try:
                    if not item.remove():
                        spared.append(item.name)
                        continue
                except (TrackerError, OSError) as error:
                    failed.append(f"{item.name}: {getattr(error, 'message', None) or error}")
                    continue
                say(item.name)
                count, freed = count + 1, freed + item.bytes
    return Removed(count, freed, spared, failed)


def _ledger(home: Home, storage: str | None) -> tuple[list[CellRow], list[dict[str, object]]]:
    """Return all rows and studies of the trial databases this home has been used with: the local one and `storage`."""
    rows: list[CellRow] = []
    definitions: list[dict[str, object]] = []
    for url in dict.fromkeys((None, storage)):
        ledger = existing_ledger(home, url)
        if ledger is None:
            continue
        with ledger:
            for study in ledger.studies():
                rows += ledger.rows(study.study, in_grid=False)
                definitions.append(ledger.definition(study.study) or {})
    return rows, definitions


def _unused_data(home: Home, definitions: list[dict[str, object]]) -> Group:
    """Return packed datasets that no study uses; none where a study's definition cannot be read."""
    from tracker.vision.datasets import packed_folders  # torch

    group = Group("packed datasets", "no study in the trial database uses them; packed again when one does")
    try:
        used = set(_used_folders(home, definitions))
    except TrackerError:
        return group
    for folder in packed_folders(home):
        if folder not in used and (size := measure(folder)).older_than(RECENT_SECONDS):
            group.items.append(path_item(folder, home.root, size))
    return group


def _used_folders(home: Home, definitions: list[dict[str, object]]) -> Iterator[Path]:
    from tracker.study.load import parse_study
    from tracker.vision.datasets import datasets_of, packed_folder

    for document in definitions:
        study = parse_study(document, file="a study of the trial database")
        for name, spec in datasets_of(study.cells).items():
            yield packed_folder(name, spec, home)
