"""What is sent arrives once, whole, and in few calls; what comes late disturbs nobody."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.study import faults
from tracker.study.home import Home
from tracker.tracking import delivery
from tracker.tracking.batches import MAX_BYTES, MAX_METRICS, MAX_TAGS, leading, metrics_of, tags_of
from tracker.tracking.client import connect
from tracker.tracking.delivery import ENDED_TAG, MAX_UPLOADS
from tracker.tracking.events import Event, File, Finish, Metrics, Open, Tags, to_line
from tracker.tracking.journal import Journal
from tracker.tracking.replay import replay
from tracker.tracking.run import open_run

few = st.integers(0, 400)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(lambda count: Metrics(1, 2, {f"m{n}": 1.0 for n in range(count)}), few),
    st.builds(lambda start, count: Tags({f"t{n}": "x" for n in range(start, start + count)}), few, st.integers(0, 60)),
    st.builds(lambda size: Tags({"long": "x" * size}), st.integers(0, 200_000)),
    st.just(Finish("FINISHED", 1)),
)


def leave(home: Home, start: Open, *more: Event, file: Path | None = None) -> None:
    """Write the journal of a process that died before anything was sent."""
    journal = Journal.claim(home.make(home.journal), start.key)
    for event in (start, *more):
        journal.append(event)
    if file is not None:
        journal.append(File(journal.keep(file), "files"))
    journal.close()


def stored(served_home: Home, run_id: str, path: str) -> Path:
    """Return where the server keeps a file of a run."""
    (found,) = served_home.artifacts.glob(f"*/{run_id}/artifacts/{path}")
    return found


@settings(max_examples=50)
@given(st.lists(events, max_size=30))
def test_a_call_takes_what_mlflow_takes(many: list[Event]) -> None:
    """A batch is the longest beginning of metrics and tags within MLflow's limits: in order, nothing passed over."""
    batch = leading(many)
    assert batch == many[: len(batch)]
    assert len(metrics_of(batch)) + len(tags_of(batch)) <= MAX_METRICS
    assert len(tags_of(batch)) <= MAX_TAGS
    assert sum(len(to_line(event)) for event in batch) <= MAX_BYTES
    if len(batch) < len(many) and isinstance(many[len(batch)], (Metrics, Tags)):
        more = many[: len(batch) + 1]
        count = len(metrics_of(more)) + len({tag.key for tag in tags_of(more)})
        size = sum(len(to_line(event)) for event in more)
        assert count > MAX_METRICS or len(tags_of(more)) > MAX_TAGS or size > MAX_BYTES


def test_the_last_value_of_a_tag_counts() -> None:
    """Events in one call keep their order."""
    (tag,) = tags_of([Tags({"a": "1"}), Metrics(1, 1, {}), Tags({"a": "2"})])
    assert (tag.key, tag.value) == ("a", "2")


def test_of_many_events_only_the_refused_one_is_lost(home: Home, uri: str) -> None:
    """A name that MLflow refuses among many epochs costs that one event, and is named."""
    epochs: list[Event] = [Metrics(1_000 + epoch, epoch, {"loss": float(epoch)}) for epoch in range(20)]
    epochs.insert(10, Metrics(5, 5, {"what?": 1.0}))
    leave(home, Open("bad-1", uri, "bad", "one", 1), *epochs, Tags({"after": "wards"}), Finish("FINISHED", 9_000))
    replayed = replay(home, uri)
    assert replayed.delivered == ("one",)
    assert len(replayed.problems) == 1
    assert "what?" in replayed.problems[0]
    (run,) = connect(uri).search_runs([connect(uri).get_experiment_by_name("bad").experiment_id])
    found = connect(uri).get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.timestamp) for point in found) == [(e, 1_000 + e) for e in range(20)]
    assert (run.info.status, run.data.tags["after"]) == ("FINISHED", "wards")
    assert [path.name for path in home.journal.iterdir()] == ["bad-1.refused"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "altered": lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]),
    "cut short": lambda path: os.truncate(path, 3),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_counts_once_its_stored_copy_is_the_same(
    home: Home, served_home: Home, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A copy that differs from the file is replaced: the journal lets go of it only after that."""
    file = tmp_path / "best.bin"
    file.write_bytes(b"weights" * 1_000)
    run = open_run(uri, home, "damaged", damage, f"damaged-{list(DAMAGES).index(damage)}")
    reached: list[str] = []

    def spoil_once(point: str) -> None:
        if point == "file-sent":
            reached.append(point)
            if len(reached) == 1:
                assert run.run_id is not None
                DAMAGES[damage](stored(served_home, run.run_id, "c/best.bin"))

    monkeypatch.setattr(delivery, "reach", spoil_once)
    run.log_file(file, "c")
    assert run.pending == 1
    assert run.flush(10)
    assert len(reached) == 2
    assert run.finish("FINISHED")
    assert run.run_id is not None
    assert stored(served_home, run.run_id, "c/best.bin").read_bytes() == file.read_bytes()
    assert list(home.journal.iterdir()) == []


def test_a_store_that_keeps_altering_a_file_does_not_get_the_only_copy(
    home: Home, served_home: Home, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries the file is given up with a sentence, the rest goes on, and the kept file stays."""
    file = tmp_path / "best.bin"
    file.write_bytes(b"weights")
    tries: list[str] = []

    def spoil(point: str) -> None:
        if point == "file-sent":
            tries.append(point)
            for path in served_home.artifacts.glob("*/*/artifacts/files/best.bin"):
                path.write_text("?")

    monkeypatch.setattr(delivery, "reach", spoil)
    leave(home, Open("spoilt-1", uri, "spoilt", "one", 1), file=file)
    replayed = replay(home, uri)
    assert len(tries) == MAX_UPLOADS
    assert (replayed.delivered, replayed.pending) == (("one",), ())
    assert "the stored copy of files/best.bin differs" in replayed.problems[0]
    assert (home.journal / "spoilt-1.files" / "0" / "best.bin").read_bytes() == b"weights"
    replay(home, uri)
    assert (home.journal / "spoilt-1.files" / "0" / "best.bin").is_file()


@pytest.mark.parametrize("point", ["epoch-journaled", "epoch-logged", "file-kept", "file-sent"])
def test_whatever_goes_wrong_at_a_named_point_loses_nothing(
    home: Home, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Each point lies where its description says; the next process brings the rest."""
    file = tmp_path / "a.txt"
    file.write_text("a")
    run = open_run(uri, home, "points", point, f"points-{point}")
    monkeypatch.setattr(faults, "_reached", Counter())
    monkeypatch.setenv(faults.VARIABLE, f"{point}=error")
    with pytest.raises(RuntimeError, match=f"injected at {point}"):
        run.log_epoch(0, {"loss": 1.0})
        run.log_file(file)
    monkeypatch.delenv(faults.VARIABLE)
    there = connect(uri).get_run(run.run_id).data.metrics
    assert there == ({} if point == "epoch-journaled" else {"loss": 1.0})
    assert (len(connect(uri).list_artifacts(run.run_id)) == 1) == (point == "file-sent")
    run.abandon()
    again = open_run(uri, home, "points", point, f"points-{point}")
    again.log_epoch(0, {"loss": 1.0})
    again.log_file(file)
    assert again.finish("FINISHED")
    assert [info.path for info in connect(uri).list_artifacts(run.run_id)] == ["a.txt"]


def test_a_journal_found_late_adds_and_changes_nothing(home: Home, uri: str, tmp_path: Path, served_home: Home) -> None:
    """A cell went on elsewhere while a journal of its first attempt lay here: its points and files are added."""
    for name in ("old", "same"):
        (tmp_path / f"{name}.txt").write_text("of the first attempt")
    first = Open("late-1", uri, "late", "one", 1_000, tags={"worker": "a", "note": "a"}, token=1)
    leave(home, first, Metrics(1_001, 0, {"loss": 1.0}), Tags({"note": "broke"}), file=tmp_path / "old.txt")
    leave(home, first, Metrics(1_002, 1, {"loss": 0.9}), file=tmp_path / "same.txt")
    (tmp_path / "same.txt").write_text("of the second attempt")
    second = open_run(
        uri, Home(tmp_path / "elsewhere"), "late", "one", "late-1", tags={"worker": "b", "note": "b"}, token=2
    )
    second.log_file(tmp_path / "same.txt", "files")
    assert replay(home, uri).delivered == ("one",)
    run = connect(uri).get_run(second.run_id)
    assert (run.info.status, run.data.tags["worker"], run.data.tags["note"]) == ("RUNNING", "b", "b")
    assert ENDED_TAG not in run.data.tags
    assert sorted(p.value for p in connect(uri).get_metric_history(second.run_id, "loss")) == [0.9, 1.0]
    assert second.run_id is not None
    assert stored(served_home, second.run_id, "files/same.txt").read_text() == "of the second attempt"
    assert stored(served_home, second.run_id, "files/old.txt").read_text() == "of the first attempt"
    assert second.finish("FINISHED")
    assert list(home.journal.iterdir()) == []


def test_a_journal_of_the_last_attempt_ends_the_run(home: Home, uri: str, tmp_path: Path) -> None:
    """A cell that went on and ended where no server was: what it left behind is what counts, whoever came between."""
    open_run(uri, Home(tmp_path / "elsewhere"), "last", "one", "last-1", tags={"worker": "b"}, token=2).abandon()
    leave(home, Open("last-1", uri, "last", "one", 1, tags={"worker": "a"}, token=1), Metrics(2, 0, {"loss": 1.0}))
    leave(home, Open("last-1", uri, "last", "one", 3, tags={"worker": "c"}, token=3), Finish("FINISHED", 4_000))
    assert replay(home, uri).delivered == ("one",)
    (run,) = connect(uri).search_runs([connect(uri).get_experiment_by_name("last").experiment_id])
    assert (run.info.status, run.info.end_time, run.data.tags["worker"]) == ("FINISHED", 4_000, "c")
    assert ENDED_TAG not in run.data.tags


def test_a_worker_that_wakes_up_late_does_not_end_the_run_of_the_next(home: Home, uri: str, tmp_path: Path) -> None:
    """Thought dead, its cell taken over, it wakes and finishes: the run stays RUNNING and the next one's."""
    asleep = open_run(uri, home, "asleep", "one", "asleep-1", token=4)
    awake = open_run(uri, Home(tmp_path / "elsewhere"), "asleep", "one", "asleep-1", token=5)
    assert asleep.run_id == awake.run_id
    assert asleep.finish("FAILED")
    assert connect(uri).get_run(awake.run_id).info.status == "RUNNING"
    assert awake.finish("FINISHED")
    assert connect(uri).get_run(awake.run_id).info.status == "FINISHED"


def test_a_worker_that_opens_late_changes_nothing(home: Home, uri: str, tmp_path: Path) -> None:
    """Frozen before it opened the run, the cell meanwhile completed by another: its own opening comes late as well."""
    open_run(uri, Home(tmp_path / "elsewhere"), "frozen", "one", "frozen-1", tags={"worker": "b"}, token=5).finish(
        "FINISHED"
    )
    late = open_run(uri, home, "frozen", "one", "frozen-1", tags={"worker": "a"}, token=4)
    late.log_epoch(0, {"loss": 1.0}, 1_000)
    late.abandon()
    run = connect(uri).get_run(late.run_id)
    assert (run.info.status, run.data.tags["worker"], run.data.metrics) == ("FINISHED", "b", {"loss": 1.0})


def test_an_own_opening_counts_whatever_the_clock_says(
    home: Home, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumped back makes a token small; the run is RUNNING and its end is the new worker's all the same."""
    open_run(uri, home, "clock", "one", "clock-1").finish("KILLED")
    monkeypatch.setattr("tracker.tracking.run.now", lambda: 5)
    run = open_run(uri, Home(tmp_path / "elsewhere"), "clock", "one", "clock-1")
    assert connect(uri).get_run(run.run_id).info.status == "RUNNING"
    assert run.finish("FINISHED")
    assert connect(uri).get_run(run.run_id).info.status == "FINISHED"


def test_an_abandoned_run_is_left_as_it_is(home: Home, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who lost the right to a cell closes nothing; a journal that is delivered goes."""
    run = open_run(uri, home, "abandoned", "one", "abandoned-1")
    run.log_epoch(0, {"loss": 1.0})
    run.abandon()
    assert connect(uri).get_run(run.run_id).info.status == "RUNNING"
    assert list(home.journal.iterdir()) == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
