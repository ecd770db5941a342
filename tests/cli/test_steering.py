"""`tracker retry`, `cancel`, `sweep --pause`: steering a study from outside."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from tests.prepared_store import with_ledger
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.errors import RecipeChanged, TrackerError, UsageError
from tracker.study.failures import Failure
from tracker.study.home import Home
from tracker.study.load import parse_study

DOCUMENT = {
    "name": "quickstart",
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits", "source": "random"},
    "axes": {"normalization": ["pretrain", "finetune"], "seed": [1, 2]},
}


def run(home: Home, *arguments: str) -> Result:
    """Run the command; its errors come out as exceptions, but for wrong usage."""
    return CliRunner().invoke(cli, [*arguments, "--home", str(home.root)], catch_exceptions=False)


def rows(home: Home) -> list[CellRow]:
    """Read the study's rows."""
    with Ledger.local(home) as ledger:
        return ledger.rows("quickstart")


@pytest.fixture
def swept(home: Home) -> Home:
    """A home with a study of four cells: two failed, one complete, one waiting."""
    with Ledger.local(with_ledger(home)) as ledger:
        ledger.enroll(parse_study(DOCUMENT, file="small.yaml"))
        for _ in range(2):
            claim = ledger.leases.claim("quickstart", "worker")
            assert claim is not None
            ledger.leases.fail(claim, Failure("exception", "ValueError", "no"))
        claim = ledger.leases.claim("quickstart", "worker")
        assert claim is not None
        ledger.leases.complete(claim, {"best_acc": 0.5}, "run", 1.0)
    return home


def test_failed_cells_wait_again(swept: Home) -> None:
    """Their names go to stdout, the way on to stderr; what is complete stays."""
    result = run(swept, "retry", "--study", "quickstart", "--failed")
    assert result.stdout.splitlines() == [f"resnet18/digits/pretrain/seed={seed}" for seed in (1, 2)]
    assert "2 cells wait again: tracker sweep --study quickstart" in result.stderr
    assert [row.state for row in rows(swept)] == ["WAITING", "WAITING", "COMPLETE", "WAITING"]
    assert run(swept, "retry", "--study", "quickstart", "--failed").stdout == ""


def test_a_cell_is_named_by_id_the_beginning_of_it_or_its_name(swept: Home) -> None:
    """Each names the same cell; one that is complete needs --anew."""
    cell = rows(swept)[0]
    for word in (cell.cell_id, cell.cell_id[:6], cell.name):
        result = run(swept, "retry", "--study", "quickstart", "--cell", word, "--anew")
        assert result.stdout == f"{cell.name}\n"
    done = rows(swept)[2]
    assert run(swept, "retry", "--study", "quickstart", "--cell", done.cell_id).stdout == ""
    assert run(swept, "retry", "--study", "quickstart", "--cell", done.cell_id, "--anew").stdout == f"{done.name}\n"
    assert rows(swept)[2].metrics is None


def test_a_cell_that_is_not_there_is_wrong_usage(swept: Home) -> None:
    """The nearest names are shown, and so are the studies where the study is unknown."""
    with pytest.raises(UsageError, match="nearest"):
        run(swept, "retry", "--study", "quickstart", "--cell", "resnet18/digits/pretrain/seed=3")
    with pytest.raises(UsageError, match="studies there: quickstart"):
        run(swept, "cancel", "--study", "other", "--all")


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_something_must_be_named(swept: Home, command: str) -> None:
    """Nothing happens by default."""
    result = run(swept, command, "--study", "quickstart")
    assert result.exit_code == 2
    assert "--cell" in result.stderr


def test_cancelled_cells_are_not_run_and_come_back(swept: Home) -> None:
    """Only what waits or runs is cancelled; `retry --cell` brings it back."""
    result = run(swept, "cancel", "--study", "quickstart", "--all")
    assert "1 cells are cancelled" in result.stderr
    assert [row.state for row in rows(swept)] == ["FAIL", "FAIL", "COMPLETE", "PRUNED"]
    run(swept, "retry", "--study", "quickstart", "--cell", rows(swept)[3].cell_id)
    assert rows(swept)[3].state == "WAITING"


def test_a_paused_study_is_not_swept_until_it_is_resumed(swept: Home) -> None:
    """The pause says who; a sweep without --resume ends with the way on, before anything is checked."""
    paused = run(swept, "sweep", "--study", "quickstart", "--pause")
    assert "study quickstart is paused" in paused.stderr
    with Ledger.local(swept) as ledger:
        assert (ledger.pause_reason("quickstart") or "").startswith("by ")
        assert ledger.leases.claim("quickstart", "worker") is None
    with pytest.raises(TrackerError, match="is paused by"):
        run(swept, "sweep", "--study", "quickstart")


def test_a_changed_recipe_is_refused_with_what_changed(swept: Home) -> None:
    """Before anything is checked or started; with --replace the plan is that of the new recipe."""
    with pytest.raises(RecipeChanged) as refused:
        run(swept, "sweep", "--study", "quickstart", "--dry-run", "--axis", "normalization=pretrain,finetune")
    text = str(refused.value)
    assert "has results of another recipe" in text
    assert "--set name=" in text and "--replace" in text and "--axis" in text
    plan = run(swept, "sweep", "--study", "quickstart", "--dry-run", "--replace", "--device", "cuda")
    assert "24: 0 done, 24 to do" in plan.stdout


def test_a_device_that_was_set_aside_can_be_taken_back(swept: Home) -> None:
    """`doctor` shows it with the command; the command says whether it was."""
    with Ledger.local(swept) as ledger:
        ledger.devices.set_aside("host/GPU-1", "CUDA error: uncorrectable ECC error")
    shown = run(swept, "doctor", "--device", "cpu")
    assert "host/GPU-1 is set aside: CUDA error: uncorrectable ECC error" in shown.stdout
    assert "is used again" in run(swept, "retry", "--study", "quickstart", "--device", "host/GPU-1").stderr
    assert "was not set aside" in run(swept, "retry", "--study", "quickstart", "--device", "host/GPU-1").stderr


@pytest.mark.parametrize("command", ["sweep", "worker", "status", "doctor", "retry", "cancel"])
def test_a_password_in_an_argument_is_refused(home: Home, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be read in the list of processes, and is not repeated; in the environment it is accepted."""
    url = "postgresql+psycopg://ann:secret@127.0.0.1:1/trials"
    study = [] if command in ("status", "doctor") else ["--study", "quickstart"]
    result = CliRunner().invoke(cli, [command, *study, "--storage", url, "--home", str(home.root)])
    assert result.exit_code == 2
    assert "TRACKER_STORAGE" in result.stderr and "secret" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--pause", "--resume"), ("--pause", "--dry-run"), ("--enroll-only", "--dry-run"),
        ("--workers", "0"), ("--workers", "x"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other_are_wrong_usage(home: Home, arguments: tuple[str, ...]) -> None:
    """Nothing is begun."""
    assert run(home, "sweep", "--study", "quickstart", *arguments).exit_code == 2
    assert not home.root.exists()
