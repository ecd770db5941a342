"""What `tracker sweep --until-decided` does between two rounds: judge, and grow the study."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tracker.compare.deciding import Decision, Reason
    from tracker.compare.scores import Leaderboard
    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.summary import Summary

LISTED = 8
"""Names told on one line before "and N more"; `tracker compare` has all of them."""


def stored_growth(study: Study, home: Home, storage: str | None, replace: bool, say: Callable[[str], None]) -> Study:
    """Return the study with the further seeds that earlier sweeps added and its file does not know of.

    Args:
        replace: the file is to stand as it is.
        say: told what is kept, or is not.
    """
    from tracker.ledger.opening import existing_ledger
    from tracker.study.changes import carried_on
    from tracker.study.load import parse_study

    ledger = existing_ledger(home, storage)
    if ledger is None:
        return study
    with ledger:
        document = ledger.definition(study.name) or {}
    if not (document.get("more_seeds") or document.get("looks")):
        return study
    grown = carried_on(parse_study(document, file=f"study {study.name} of the trial database"), study)
    if further := len(grown.cells) - len(study.cells):
        fate = "leave it with --replace, their runs stay in MLflow" if replace else "are kept"
        say(f"study {study.name}: {further} cells of further seeds, which --until-decided added, {fate}")
    return study if replace else grown


class Deciding:
    """A study that is swept until its comparisons are decided.

    Args:
        metric: what is compared.
        max_seeds: a configuration gets no more.
        say: told what a round adds.
    """

    def __init__(self, home: Home, metric: str, max_seeds: int, say: Callable[[str], None]) -> None:
        self._home = home
        self._metric = metric
        self._max_seeds = max_seeds
        self._say = say
        self.board: Leaderboard | None = None
        self.ending = ""

    def begin(self, study: Study) -> Study:
        """Return the study as the first round, or the one that was interrupted, sweeps it.

        Raises:
            UsageError: it has nothing to decide.
        """
        from tracker.study.errors import UsageError

        if len({cell.recipe.normalization for cell in study.grid}) < 2:
            raise UsageError(f"study {study.name} has one normalization: nothing is to be decided")
        if self._metric == "selected_acc" and not all(cell.recipe.val_fraction for cell in study.grid):
            raise UsageError("selected_acc needs val_fraction > 0 in the recipe", "--metric last_acc")
        study = study.with_fields(looks=max(study.looks, 1))
        self._say(f"round {study.looks}: until every comparison is decided, with {self._max_seeds} seeds at most")
        return study

    def grow(self, study: Study, uri: str, summary: Summary) -> Study | None:
        """Judge a round; return the study for the next one, None where this was the last.

        A round that has not ended is not judged: the same command goes on with it.
        """
        from tracker.compare.deciding import next_seeds
        from tracker.compare.outputs import judged_leaderboard
        from tracker.tracking.reading import read_runs

        self.board = None
        if not summary.complete or summary.paused or summary.elsewhere:
            self.ending = f"round {study.looks} has not ended, so nothing is decided; the same command goes on with it"
            return None
        self.board = judged_leaderboard(uri, self._home, study, read_runs(uri, study.name), self._metric)
        decision = next_seeds(study, self.board, self._max_seeds)
        if decision.study is None:
            self.ending = ending_text(decision, self._max_seeds)
        else:
            self._say(round_text(decision, decision.study.looks))
        return decision.study


def round_text(decision: Decision, number: int) -> str:
    """Say what a round is for: `round 2: 1 of 3 comparisons undecided; 4 further cells (seeds 4-5 in ...)`."""
    places = []
    for row, added in groupby(decision.added.items(), key=lambda entry: entry[0][0]):
        settings: dict[tuple[int, ...], list[str]] = {}
        for (_, setting), seeds in added:
            settings.setdefault(tuple(sorted(seeds)), []).append(setting)
        places += [f"{seeds_text(seeds)} in {row}: {', '.join(names)}" for seeds, names in settings.items()]
    return (
        f"round {number}: {decision.undecided} of {decision.comparisons} comparisons undecided; "
        f"{decision.cells} further cells ({listed(places, '; ')})"
    )


def ending_text(decision: Decision, max_seeds: int) -> str:
    """Say what the last round decided, and why it was the last."""
    if not decision.undecided:
        return f"decided: all of {decision.comparisons} comparisons" if decision.comparisons > 1 else "decided"
    words: dict[Reason, str] = {
        "seeds": f"not decided with {max_seeds} seeds",
        "images": "not decided by any number of seeds, the test images are too few",
        "noise": "not decided by 1,000 further seeds",
        "conditions": "not comparable, made under different conditions",
        "cells": "not compared, no seed is measured in both",
    }
    parts = [f"{decision.comparisons - decision.undecided} of {decision.comparisons} comparisons decided"]
    for reason, text in words.items():
        if names := [f"{left.row}/{left.setting}" for left in decision.left if left.reason == reason]:
            parts.append(f"{text}: {listed(names)}")
    return "; ".join(parts)


def seeds_text(seeds: Iterable[int]) -> str:
    """Write rising seeds: `seed 4`, `seeds 4-6, 9`."""
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and spans[-1][-1] == seed - 1:
            spans[-1][1:] = [seed]
        else:
            spans.append([seed])
    text = ", ".join("-".join(map(str, span)) for span in spans)
    return f"seed {text}" if text.isdecimal() else f"seeds {text}"


def listed(names: Sequence[str], joint: str = ", ") -> str:
    """Join names, a long list cut short."""
    text = joint.join(names[:LISTED])
    return text if len(names) <= LISTED else f"{text}{joint}and {len(names) - LISTED} more"
