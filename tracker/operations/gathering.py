"""The parts of a home, copied one after another while it is worked in.

Nothing is locked and no worker waits, so the parts are copied one after another, and each part is of a
later moment than the one before. The order is chosen so that whatever a sweep does in between, the copy
looks like the home after a power cut, which `tracker status` and the next sweep know how to mend:

1. Training states. One that is older than the ledger says costs the epochs since; one that is newer
   never occurs. A state whose cell is complete by the time of step 2 is removed as a leftover.
2. The ledger. A cell is COMPLETE there only after its run was finished and all its results were in MLflow
   or in a journal: both are copied later, so a complete cell never lacks its run.
3. Journals. A journal is removed only after MLflow has all of it, and MLflow is copied later: each result
   that was ever on this disk is in the journal's copy, in MLflow's, or in both, which delivers it twice
   and so changes nothing.
4. MLflow's database. A run is finished there only after its files were stored.
5. Artifacts and the rest. Files that belong to no run of step 4 are there for nothing, and `tracker gc`
   finds them; a file that was half written is one of a run that goes on, which writes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from tracker.operations.contents import Walk, belongs, is_sqlite, journals, open_journal, open_states
from tracker.operations.databases import ask_server, ask_sqlite, copy_sqlite, dump_server
from tracker.operations.manifest import LiveCell, Role, StoredDatabase
from tracker.operations.stores import Store, nothing_here, out_of_reach, remote_tracking, tracking_store, trials_store
from tracker.operations.writing import Earlier, Writer
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.wording import counted
from tracker.tracking.server.storage import ARTIFACTS_VARIABLE

SCHEMAS: dict[Role, str] = {
    "trials": "SELECT version_num FROM ledger_version",
    "tracking": "SELECT version_num FROM alembic_version",
}
LIVE_CELLS = "SELECT study, name, worker, last_epoch FROM cells WHERE state = 'RUNNING' ORDER BY study, position"


class Gathering:
    """What of a home goes into a backup, and where it is.

    Args:
        folder: where backups go; never a part of one.
        storage: URL of the trial database; None for the local one.
        with_data: also datasets and weights.

    Raises:
        TrackerError: a database of a kind that cannot be copied.
    """

    def __init__(self, home: Home, folder: Path, storage: str | None, with_data: bool) -> None:
        self.home = home
        self._with_data = with_data
        self.trials = trials_store(home, storage)
        self.tracking = tracking_store(home)
        self._no_tracking = False
        self._left_out: list[str] = []
        self._walk = Walk(home.root, skipped=[folder.absolute()])

    def check_reach(self, without_tracking: bool, without_artifacts: bool) -> None:
        """See that MLflow and all files of its runs are within reach, or that it is known that they are not."""
        if address := remote_tracking(self.home):
            if not without_tracking:
                raise TrackerError(
                    f"MLflow is at {address}: its database is not known here, so it would not be in the backup",
                    "unset MLFLOW_TRACKING_URI if that is this home's own server; or back up where its database can be "
                    "reached, with MLFLOW_BACKEND_STORE_URI naming it; or leave it out: --without-tracking",
                )
            self._left_out.append(f"MLflow at {address}: runs, metrics and files")
        elif without_tracking and self.tracking is not None:
            self._left_out.append(f"MLflow's database {self.tracking}: as asked")
            self.tracking, self._no_tracking = None, True
        if self.trials is None and self.tracking is None and not self._left_out:
            raise UsageError(
                f"nothing has been run here yet: no database in {self.home.root}", "name another home with --home DIR"
            )
        if self.tracking is not None:
            self._check_files(self.tracking, without_artifacts)

    def _check_files(self, tracking: Store, without_artifacts: bool) -> None:
        from tracker.tracking.locations import file_places  # two seconds of imports

        places = file_places(tracking.url)
        if nothing_here(self.home, places):
            self._left_out.append(
                f"{counted(len(places), 'run')} without a file in {self.home.artifacts}: if the server keeps them "
                f"elsewhere ({ARTIFACTS_VARIABLE}), back that place up too"
            )
        away = list(out_of_reach(self.home, places))
        if not away:
            return
        what = f"{counted(len(away), 'run')} with files outside {self.home.root}, as {away[0]}"
        if not without_artifacts:
            raise TrackerError(
                f"{what}: they would not be in the backup",
                "back the place up with its own tools (versioned buckets, snapshots), and leave it out here: "
                "--without-artifacts",
            )
        self._left_out.append(what)

    def gaps(self) -> list[str]:
        """Return what belongs to the home or its runs and is not in the backup, after `write`."""
        return [*self._left_out, *dict.fromkeys(self._walk.left_out)]

    def bytes_to_copy(self, earlier: Earlier | None) -> int:
        """Return how much will be copied, as far as files tell before it is done."""
        needed = 0
        for path in self._files(self.home.root):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if earlier is None or earlier.same(self._path(path), status) is None:
                needed += status.st_size
        for store in (self.trials, self.tracking):
            if store is not None and store.file is not None and not store.file.is_relative_to(self.home.root):
                needed += store.file.stat().st_size
        return needed

    def write(self, writer: Writer, say: Callable[[str], None]) -> tuple[list[StoredDatabase], list[LiveCell]]:
        """Copy all parts, in the order that this module gives; return the databases and the cells that were live."""
        say("training states, databases, journals")
        self._states(writer)
        databases, live = self._trials(writer)
        self._journals(writer)
        databases += self._tracking(writer)
        databases += self._other_databases(writer)
        say("artifacts and sources")
        self._rest(writer, {entry.path for entry in writer.entries})
        return databases, live

    def _states(self, writer: Writer) -> None:
        for folder in sorted(self.home.work.iterdir()) if self.home.work.is_dir() else ():
            if not folder.is_dir() or folder.is_symlink() or not belongs(PurePosixPath("work", folder.name)):
                continue
            with ExitStack() as stack:
                for opened in open_states(folder, stack):
                    writer.opened(opened, self._path(opened.path))

    def _trials(self, writer: Writer) -> tuple[list[StoredDatabase], list[LiveCell]]:
        stored: list[StoredDatabase] = []
        live: list[LiveCell] = []
        wanted = [store for store in (trials_store(self.home, None), self.trials) if store is not None]
        for store in {store.file: store for store in wanted}.values():  # the one in use comes last
            database, path = self._database(writer, "trials", store)
            stored.append(database)
            rows = ask_server(store.url, LIVE_CELLS) if path is None else ask_sqlite(path, LIVE_CELLS)
            live = [LiveCell(study=study, name=name, worker=worker or None, last_epoch=int(epoch) if epoch else None)
                    for study, name, worker, epoch in rows]  # fmt: skip
        return stored, live

    def _journals(self, writer: Writer) -> None:
        for path in journals(self.home):
            with ExitStack() as stack:
                for opened in open_journal(path, stack):
                    writer.opened(opened, self._path(opened.path))

    def _tracking(self, writer: Writer) -> list[StoredDatabase]:
        own = Store("", self.home.tracking_db) if self.home.tracking_db.exists() and not self._no_tracking else None
        wanted = [store for store in (own, self.tracking) if store is not None]
        files = {store.file: store for store in wanted}  # the one in use comes last
        return [self._database(writer, "tracking", store)[0] for store in files.values()]

    def _other_databases(self, writer: Writer) -> list[StoredDatabase]:
        """Take the other SQLite files of the home: the accounts of a team server."""
        own = (self.home.tracking_db, self.home.trials_db)
        return [
            self._database(writer, "auth", Store("", path))[0]
            for path in self._files(self.home.root)
            if path.suffix == ".db" and path not in own and is_sqlite(path)
        ]

    def _rest(self, writer: Writer, taken: set[str]) -> None:
        early = (self.home.work, self.home.journal)
        for path in self._files(self.home.root):
            if path in (self.home.tracking_db, self.home.trials_db) or any(map(path.is_relative_to, early)):
                continue
            if self._path(path) not in taken:
                writer.file(path, self._path(path))

    def _database(self, writer: Writer, role: Role, store: Store) -> tuple[StoredDatabase, Path | None]:
        """Copy or dump one database; return what the manifest says of it, and the copy if it is a file."""
        if store.file is None:
            path = f"databases/{role}.pgdump"
            rows = ask_server(store.url, SCHEMAS[role])
            writer.made(path, lambda target: dump_server(store.url, target))
            schema = rows[0][0] if rows else None
            return StoredDatabase(role=role, kind="postgresql", path=path, schema_version=schema), None
        source = store.file
        inside = source.is_relative_to(self.home.root)
        path = self._path(source) if inside else f"databases/{role}.db"
        copy = writer.made(path, lambda target: copy_sqlite(source, target))
        copy.chmod(source.stat().st_mode & 0o777)
        rows = ask_sqlite(copy, SCHEMAS[role]) if role in SCHEMAS else []
        schema = rows[0][0] if rows else None
        return StoredDatabase(role=role, kind="sqlite", path=path, schema_version=schema), copy

    def _files(self, folder: Path) -> Iterator[Path]:
        for path in self._walk.files(folder):
            if belongs(PurePosixPath(path.relative_to(self.home.root)), self._with_data):
                yield path

    def _path(self, path: Path) -> str:
        return f"home/{path.relative_to(self.home.root).as_posix()}"
