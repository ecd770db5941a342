"""The reference study's claims are held against its own numbers, and shown with them.

`WRITE_GOLDEN=1 pytest tests/compare/test_published_judgement.py` writes the golden files anew: read the
difference before it is committed.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tests.compare.printed_sections import check_golden, check_width
from tracker.compare.published.claims import Claim, check
from tracker.compare.published.findings import Findings
from tracker.compare.published.pages import PublishedPage
from tracker.compare.published.results import published_board
from tracker.compare.published.sections import judgement_sections
from tracker.compare.published.shifts import in_bgr
from tracker.compare.published.shown import sections_markdown, sections_text
from tracker.study.errors import UsageError


@pytest.mark.parametrize(
    ("where", "claim", "holding", "numbers"),
    [
        ("Figure 1", "in most cases", "cannot be said", {"wins": 9, "rows": 16, "best": 8, "p": 0.8036}),
        ("text on Table 2", "On CIFAR10 ", "does not hold", {"wins": 1, "rows": 4}),
        (
            "text on Table 2",
            "On CIFAR100 and on SVHN",
            "holds",
            {"wins_cifar100": 2, "wins_svhn": 2, "largest_z": 1.3114},
        ),
        ("text on Table 2", "On Tiny ImageNet", "holds", {"wins": 4, "rows": 4, "p": 0.125, "largest_z": 1.0346}),
        (
            "Table 1",
            "farther from the normal distribution",
            "does not hold",
            {"tiny-imagenet-200": 0.2232, "svhn": 0.2437, "cifar100": 0.2258, "as_printed": 0.3655, "place": 3},
        ),
        ("text on Table 3", "surprisingly good", "holds", {"best": 3, "wins": 7, "mean_delta": -0.00014}),
        ("conclusion", "strongly influenced", "does not hold", {"minmax": -0.00047, "instance": -0.01386}),
        ("motivation", "in which cases", "cannot be said", {"beyond": 0, "rows": 16, "mean_delta": 0.00067}),
    ],
)
def test_claims(where: str, claim: str, holding: str, numbers: dict[str, float], claims: tuple[Claim, ...]) -> None:
    """Each claim holds, does not hold or cannot be said, on the numbers that its ground tells."""
    assert len(claims) == 8
    [found] = [each for each in claims if each.where == where and claim in each.claim]
    assert found.holding == holding
    for name, value in numbers.items():
        assert found.numbers[name] == pytest.approx(value, abs=5e-5), name


def test_as_many_claims_are_checked_as_there_are(claims: tuple[Claim, ...]) -> None:
    """Every claim is a sentence, with its ground in sentences that hold a number."""
    for each in claims:
        assert each.claim.endswith(".") and each.ground.endswith(".")
        assert re.search(r"\d", each.ground)
    assert [each.holding for each in claims].count("holds") == 3


def test_claims_follow_from_the_numbers(findings: Findings) -> None:
    """With other results the same checks come out otherwise: nothing is written down beforehand."""
    gain = {"resnet50": 0.0}
    better = tuple(
        replace(each, delta=gain.get(each.model, 0.02), z=4.0)
        if each.dataset == "cifar10"
        else replace(each, delta=0.01)
        for each in findings.differences
    )
    normal = tuple(
        replace(each, statistics=in_bgr(each.dataset)) if each.dataset == "tiny-imagenet-200" else each
        for each in findings.shifts
    )
    most, cifar10, others, _, farther, *_, cases = check(replace(findings, differences=better, shifts=normal))
    assert [each.holding for each in (most, cifar10, others, farther, cases)] == [
        "holds",
        "holds",
        "does not hold",
        "holds",
        "holds",
    ]


def test_one_seed_gives_no_verdict(findings: Findings) -> None:
    """Every one of the 48 comparisons with pretrain is undecided, and the page says why."""
    verdicts = [s.comparison.verdict for row in published_board().rows for s in row.scores.values() if s.comparison]
    assert verdicts == ["undecided"] * 48
    assert (findings.undecided, findings.comparisons) == (48, 48)
    assert "48 of 48 are undecided" in sections_text(judgement_sections(findings, check(findings)), 200)


def test_another_baseline_is_of_the_leaderboard_alone(findings: Findings) -> None:
    """The judgement is against pretrain, as the reference study is, whatever the leaderboard's baseline."""
    page = PublishedPage("minmax")
    assert page.board.baseline == "minmax"
    assert page.findings == findings
    with pytest.raises(UsageError, match="'none' is not a normalization"):
        PublishedPage("none")


def test_golden_judgement(findings: Findings, claims: tuple[Claim, ...]) -> None:
    """The judgement is printed as its golden files have it: wide, narrow, and as Markdown."""
    sections = judgement_sections(findings, claims)
    check_golden("judgement.txt", sections_text(sections, 120))
    check_golden("judgement-60.txt", sections_text(sections, 60))
    check_golden("judgement.md", sections_markdown(sections))


@pytest.mark.parametrize("width", [46, 60, 79, 80, 100, 160])
def test_the_judgement_keeps_to_its_width(width: int, findings: Findings, claims: tuple[Claim, ...]) -> None:
    """At any width no line is longer and no number is lost."""
    check_width(judgement_sections(findings, claims), width)


def test_a_terminal_shows_the_same_in_bold() -> None:
    """A terminal's view has the words of the plain text, with the better number of a pair in bold."""
    page, file = PublishedPage(), StringIO()
    console = Console(file=file, force_terminal=True, no_color=True, width=120, _environ={"TERM": "xterm-256color"})
    console.print(page.view())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert plain.split() == page.text("table", 120).split()
    assert "\x1b[1m89.05\x1b[0m*" in file.getvalue()


def test_json_has_everything(findings: Findings) -> None:
    """The JSON is the leaderboard's with the judgement beside it, unrounded."""
    found = json.loads(PublishedPage().text("json"))
    assert found["study"] == "published"
    judgement = found["judgement"]
    assert judgement["largest_z"] == findings.largest_z
    assert [len(judgement[key]) for key in ("differences", "effects", "shifts", "claims")] == [16, 15, 16, 8]
    assert judgement["claims"][1]["holding"] == "does not hold"


@pytest.mark.parametrize("form", ["csv", "latex"])
def test_csv_and_latex_are_the_leaderboard(form: str) -> None:
    """Formats that hold one table hold the leaderboard."""
    text = PublishedPage().text(form)
    assert "densenet161" in text
    assert "claim" not in text
