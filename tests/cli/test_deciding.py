"""`tracker sweep --until-decided`: what it takes, what it says, and when a round is not judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tracker.cli.deciding import Deciding, ending_text, listed, round_text, seeds_text
from tracker.cli.main import cli
from tracker.compare.deciding import Decision, Open
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.errors import UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.sweep.summary import Summary

DOCUMENT = {
    "name": "flowers",
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits", "source": "random"},
    "baseline": "minmax",
    "axes": {"normalization": ["minmax", "finetune"], "seed": [1, 2]},
}
FILE = """
question: Which?
recipe: {model: resnet18, dataset: digits, source: random}
baseline: minmax
axes: {normalization: [finetune, minmax], seed: [1, 2, 3]}
"""
STUDY = parse_study(DOCUMENT, file="flowers.yaml")


def run(home: Home, *arguments: str) -> Result:
    """Run the command; its errors come out as exceptions, but for wrong usage."""
    return CliRunner().invoke(cli, [*arguments, "--home", str(home.root)], catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-seeds", "5"), ("--metric", "last_acc"), ("--until-decided", "--max-seeds", "1"),
        ("--until-decided", "--metric", "test_acc"), ("--until-decided", "--pause"),
        ("--until-decided", "--enroll-only"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_wrong_usage(home: Home, arguments: tuple[str, ...]) -> None:
    """Nothing is begun."""
    assert run(home, "sweep", "--study", "quickstart", *arguments).exit_code == 2
    assert not home.root.exists()


def test_a_study_with_nothing_to_decide_is_wrong_usage(home: Home) -> None:
    """One normalization has no other; an accuracy that no cell will have compares nothing."""
    deciding = Deciding(home, "selected_acc", 20, lambda _: None)
    with pytest.raises(UsageError, match="val_fraction"):
        deciding.begin(STUDY)
    with pytest.raises(UsageError, match="one normalization"):
        deciding.begin(parse_study({**DOCUMENT, "axes": {"normalization": ["minmax"]}}, file="one.yaml"))


def test_the_first_judgement_is_the_first_look(home: Home) -> None:
    """A study that was never looked at comes to look 1; one that was interrupted keeps its look."""
    said: list[str] = []
    deciding = Deciding(home, "best_acc", 20, said.append)
    assert deciding.begin(STUDY).looks == 1
    assert deciding.begin(STUDY.with_fields(looks=3)).looks == 3
    assert said == [f"round {number}: until every comparison is decided, with 20 seeds at most" for number in (1, 3)]


@pytest.mark.parametrize(
    "summary",
    [
        Summary(interrupted=True), Summary(left=1), Summary(paused="by ann"), Summary(elsewhere=2),
        Summary(failures=[CellRow.__new__(CellRow)]),
    ],
    ids=["Ctrl-C", "left", "paused", "elsewhere", "failed"],
)  # fmt: skip
def test_a_round_that_has_not_ended_is_not_judged(home: Home, summary: Summary) -> None:
    """The loop ends without another look, and MLflow is not asked: there is none here."""
    deciding = Deciding(home, "best_acc", 20, lambda _: None)
    assert deciding.grow(STUDY.with_fields(looks=1), "http://127.0.0.1:1", summary) is None
    assert deciding.board is None
    assert "the same command goes on" in deciding.ending


@pytest.fixture
def grown(home: Home) -> Home:
    """A home in which the study was grown by two seeds of one setting and its baseline."""
    more_seeds = {"resnet18/digits/minmax": (3, 4), "resnet18/digits/finetune": (3, 4)}
    with Ledger.local(home) as ledger:
        ledger.enroll(STUDY.with_fields(more_seeds=more_seeds, looks=2))
    return home


@pytest.mark.parametrize(
    ("changes", "said", "cells"),
    [
        ((), "2 cells of further seeds, which --until-decided added, are kept", 8),
        (("--axis", "seed=1,2,3,4,5"), None, 10),
        (("--replace",), "2 cells of further seeds, which --until-decided added, leave it with --replace", 6),
        (("--set", "epochs=3", "--set", "name=other"), None, 6),
    ],
)
def test_a_file_does_not_undo_what_its_study_has_grown_by(
    grown: Home, tmp_path: Path, changes: tuple[str, ...], said: str | None, cells: int
) -> None:
    """Seeds that it has not are kept and told, unless it is to stand as it is or is another study."""
    file = tmp_path / "flowers.yaml"
    file.write_text(FILE)
    result = run(grown, "sweep", "--study", str(file), "--dry-run", "--device", "cuda", *changes)
    assert (said in result.stderr) if said else ("further seeds" not in result.stderr)
    assert f"{cells}: 0 done, {cells} to do" in result.stdout


def decision(**fields: object) -> Decision:
    """Make a decision about a study of four comparisons."""
    nothing = Decision(study=None, added={}, comparisons=4, undecided=0, left=())
    return Decision(**{**vars(nothing), **fields})


def test_a_round_says_what_it_adds() -> None:
    """Settings of a row that get the same seeds stand together; rows are apart."""
    added = {
        ("net/digits", "minmax"): (4, 5, 6), ("net/digits", "finetune"): (4, 5, 6), ("net/digits", "instance"): (4,),
        ("net/flowers", "minmax"): (9, 11),
    }  # fmt: skip
    assert round_text(decision(study=STUDY, added=added, undecided=3), 2) == (
        "round 2: 3 of 4 comparisons undecided; 9 further cells (seeds 4-6 in net/digits: minmax, finetune; "
        "seed 4 in net/digits: instance; seeds 9, 11 in net/flowers: minmax)"
    )


def test_the_end_says_what_is_decided_and_why_the_rest_is_not() -> None:
    """Comparisons that stay undecided are named after their reason."""
    assert ending_text(decision(), 20) == "decided: all of 4 comparisons"
    assert ending_text(decision(comparisons=1), 20) == "decided"
    left = (Open("net/a", "minmax", "seeds"), Open("net/b", "minmax", "images"), Open("net/a", "finetune", "seeds"))
    assert ending_text(decision(undecided=3, left=left), 12) == (
        "1 of 4 comparisons decided; not decided with 12 seeds: net/a/minmax, net/a/finetune; "
        "not decided by any number of seeds, the test images are too few: net/b/minmax"
    )
    for reason in ("noise", "conditions", "cells"):
        assert ": net/a/minmax" in ending_text(decision(undecided=1, left=(Open("net/a", "minmax", reason),)), 2)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [((4,), "seed 4"), ((4, 5), "seeds 4-5"), ((1, 4, 5, 6, 9), "seeds 1, 4-6, 9"), ((1, 3), "seeds 1, 3")],
)
def test_seeds_in_a_word(seeds: tuple[int, ...], text: str) -> None:
    """Neighbours are drawn together."""
    assert seeds_text(seeds) == text


def test_a_long_list_is_cut() -> None:
    """Eight names, and how many more."""
    assert listed(["a"] * 8) == ", ".join("a" * 8)
    assert listed([*"abcdefghij"]) == "a, b, c, d, e, f, g, h, and 2 more"
