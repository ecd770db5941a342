"""What `tracker gc` finds and what it never touches."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.operations.garbage import HOUR, add, age, found, gc, in_dead_process, names
from tests.operations.small_home import DOCUMENT, SmallHome, dump, files_of, in_child
from tracker.ledger.ledger import Ledger
from tracker.operations.backing_up import back_up
from tracker.operations.collecting import collect, remove
from tracker.study.load import parse_study
from tracker.vision.datasets import packed_folder


def test_a_dry_run_names_what_can_go_and_changes_nothing(small: SmallHome) -> None:
    """What is shown, its size and its reason; the exit code is 0, the files are as they were."""
    before = files_of(small.home, ".")
    done = gc(small.home, "--verbose")
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "what count MB why it is safe",
        "cached files 1 0.0 made again when needed",
        "cache/predictions.npz 0.0",
        "half-written files 1 0.0 nothing was renamed to its name, and nobody writes to them",
        "work/.state-1.safetensors.01234567.tmp 0.0",
        "total 2 0.0",
    ]
    assert "can go: tracker gc --delete" in done.stderr
    assert "squeezenet1_1/low/instance/seed=1: results that MLflow has not got" in done.stderr or not done.stderr.count(
        "stays"
    )
    after = files_of(small.home, ".")
    assert {name for name in after if after[name] != before.get(name)} <= {"trials.db", "tracking.db"}
    assert before.keys() <= after.keys()
    assert dump(small.home.trials_db)


def test_what_is_shown_is_what_is_deleted(small: SmallHome) -> None:
    """--delete removes it and nothing else; a second one finds nothing."""
    before = files_of(small.home, "artifacts", "journal", "sources", "work", "data", "weights")
    shown = json.loads(gc(small.home, "--format", "json").stdout)
    done = json.loads(gc(small.home, "--format", "json", "--delete").stdout)
    assert done["groups"] == shown["groups"]
    assert done["deleted"]["count"] == 2
    assert done["deleted"]["spared"] == done["deleted"]["failed"] == []
    gone = {item["name"] for group in shown["groups"] for item in group["items"]}
    after = files_of(small.home, "artifacts", "journal", "sources", "work", "data", "weights")
    assert before.keys() - after.keys() == gone - {"cache/predictions.npz"}
    assert "nothing can go" in gc(small.home).stderr


def test_training_states_go_by_what_the_ledger_says(small: SmallHome) -> None:
    """Those of complete cells and of no cell go; never that of a cell that waits, runs or may be retried."""
    complete, _, running, waiting = small.rows()
    with Ledger.local(small.home) as ledger:
        ledger.cancel("small", [running.cell_id])
    assert found(small.home).keys() == {"cached files", "half-written files"}
    assert waiting.run_key is None
    add(small.home, f"work/{complete.run_key}/state-1")
    add(small.home, "work/0123456789ab-01234567/state-1")
    groups = [group for group in collect(small.home, older_than=HOUR).groups if group.what == "training states"]
    assert [names(group) for group in groups] == [[f"work/{complete.run_key}"], ["work/0123456789ab-01234567"]]
    assert [group.why.split(":")[0] for group in groups] == [
        "their cells are complete",
        "no cell of the trial database has them",
    ]
    # Somebody may want the second back, so it is kept for as long as --older-than says.
    assert [names(group) for group in collect(small.home).groups if group.what == "training states"] == [
        [f"work/{complete.run_key}"]
    ]


def test_scratch_of_the_dead_goes_and_of_the_living_stays(small: SmallHome) -> None:
    """The name says whose it is; another machine's is left for a day."""
    host, dead = socket.gethostname(), in_dead_process()
    gone = age(small.home.make(small.home.work / f"export-{host}-{dead}-abcdefgh"))
    for name in (f"export-{host}-{os.getpid()}-abcdefgh", "export-elsewhere-1-abcdefgh"):
        age(small.home.make(small.home.work / name))
    assert names(found(small.home)["scratch folders"]) == [f"work/{gone.name}"]
    age(small.home.work / "export-elsewhere-1-abcdefgh", 30 * HOUR)
    assert len(found(small.home)["scratch folders"].items) == 2


def test_packed_datasets_go_only_when_asked_and_no_study_uses_them(small: SmallHome) -> None:
    """The name alone says nothing: the folder is that of the content the study names."""
    used = packed_folder("low", small.study.dataset("low"), small.home)
    add(small.home, f"{used.relative_to(small.home.root)}/train_images.npy")
    age(used)
    assert "packed datasets" not in found(small.home)
    assert names(found(small.home, data=True)["packed datasets"]) == ["data/packed/low-0123456789ab"]


def test_nothing_of_the_last_hour_is_touched(small: SmallHome) -> None:
    """Neither when it is looked for, nor if it is written to before its turn comes."""
    garbage = collect(small.home)
    assert len(garbage.groups) == 2
    for name in ("cache/predictions.npz", "work/.state-1.safetensors.01234567.tmp"):
        os.utime(small.home.root / name)
    done = remove(small.home, garbage)
    assert (done.count, len(done.spared)) == (0, 2)
    assert collect(small.home).groups == []


def test_journals_are_only_named(small: SmallHome) -> None:
    """What MLflow refused or has not got is somebody's to look at; files of a delivered journal go."""
    add(small.home, "journal/abc.refused", b"{}\n")
    add(small.home, "journal/abc.files/0/kept.bin")
    add(small.home, "journal/gone.files/0/kept.bin")
    age(small.home.journal / "gone.files")
    done = gc(small.home)
    assert f"stays: {small.home.journal / 'abc.refused'}: MLflow refused a part of it" in done.stderr
    assert names(found(small.home)["journal files"]) == ["journal/gone.files"]


def test_a_kill_in_between_leaves_nothing_half(small: SmallHome) -> None:
    """A folder loses its name before its files, so what is left is garbage again and nothing else."""
    state = add(small.home, f"work/{small.rows()[0].run_key}/state-1").parent
    add(small.home, f"work/{state.name}/state-2")
    age(state)

    def die() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "rmtree", lambda _path: os.kill(os.getpid(), signal.SIGKILL))
            remove(small.home, collect(small.home))

    assert in_child(die) == -signal.SIGKILL
    assert not state.exists()
    (half,) = small.home.work.glob(".removing-*")
    age(half)
    assert f"work/{half.name}" in names(found(small.home)["half-written files"])
    remove(small.home, collect(small.home))
    assert not half.exists()


def test_half_backups_go_when_their_folder_is_named(small: SmallHome, tmp_path: Path) -> None:
    """Whole ones stay."""
    store = tmp_path / "b"
    whole = back_up(small.home, store).folder
    half = store / f".part-{socket.gethostname()}-{in_dead_process()}-01234567"
    half.mkdir()
    done = gc(small.home, "--backups", str(store), "--delete")
    assert done.exit_code == 0
    assert list(store.iterdir()) == [whole]


@pytest.mark.parametrize(("given", "words"), [("30", "not a time"), ("30m", "less than 1h"), ("0d", "less than 1h")])
def test_an_age_must_be_one(small: SmallHome, given: str, words: str) -> None:
    """Wrong usage has exit code 2 and says what is accepted."""
    done = gc(small.home, "--older-than", given)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_state_outside_the_grid_goes_after_a_while(small: SmallHome) -> None:
    """Its cell may come back with the old recipe, so it is kept as long as --older-than says."""
    key = small.rows()[2].run_key
    with Ledger.local(small.home) as ledger:
        ledger.leases.reclaim_worker("small", "gone-1")
        axes = {"normalization": ["minmax"], "seed": [1, 2]}
        ledger.enroll(parse_study({**DOCUMENT, "axes": axes}, file="study of a test"), replace=True)
        assert [row.in_grid for row in ledger.rows("small", in_grid=False)] == [True, True, False, False]
    assert "training states" not in {group.what for group in collect(small.home).groups}
    assert names(found(small.home)["training states"]) == [f"work/{key}"]
