"""The sentences below a table: what a reader must know beside the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.compare.scores import OPEN_STATES, Outcome, Row, State
from tracker.study.wording import counted

LISTED = 8
"""Names told in one sentence before "and N more"; the JSON and CSV formats have all of them."""

WORDS: dict[State, str] = {
    "failed": "Failed",
    "stopped": "Stopped before the end",
    "running": "Still running",
    "missing": "Missing, not run yet",
}


RUN_AGAIN: tuple[State, ...] = ("failed", "stopped", "missing")
"""The states that another sweep mends."""


def notes_on(study: str, rows: Sequence[Row], metric: str, baseline: str, strangers: int) -> tuple[str, ...]:
    """Say what the numbers do not: selection, one seed, gaps by name, duplicates, runs left out.

    Args:
        study: its name.
        rows: the whole table.
        metric: what it is made of.
        baseline: the setting that deltas are taken against.
        strangers: finished runs that belong to no cell of the study as it is defined now.
    """
    outcomes = [outcome for row in rows for score in row.scores.values() for outcome in score.outcomes]
    notes = []
    states = {outcome.state for outcome in outcomes}
    if metric == "best_acc" and "measured" in states:
        notes.append("best_acc is chosen on the test split, so it is optimistic; last_acc selects nothing.")
    if any(score.n == 1 for row in rows for score in row.scores.values()):
        notes.append("Where n = 1 no spread can be given, and a difference may be nothing but noise.")
    notes += [_gap(state, outcomes, metric) for state in OPEN_STATES if state in states]
    if states.intersection(RUN_AGAIN):
        notes.append(f"`tracker sweep --study {study}` runs what is missing, stopped or failed, and nothing else.")
    notes += _guarded(rows)
    notes += _unpaired(rows, baseline)
    incomplete = sum(not row.is_complete for row in rows)
    if incomplete and "measured" in states:
        verb = "is" if incomplete == 1 else "are"
        notes.append(
            f"{incomplete} of {counted(len(rows), 'row')} {verb} not complete: best and second are provisional there, "
            "and the mean rank leaves such rows out."
        )
    if doubled := [o for o in outcomes if o.finished_runs > 1]:
        names = _listed([f"{outcome.name} ({outcome.finished_runs} runs)" for outcome in doubled])
        notes.append(f"Finished more than once, the newest counts: {names}.")
    if strangers:
        verb = "is" if strangers == 1 else "are"
        notes.append(f"{counted(strangers, 'finished run')} of other recipes {verb} not part of this table.")
    return tuple(notes)


def _gap(state: State, outcomes: Sequence[Outcome], metric: str) -> str:
    names = [outcome.name for outcome in outcomes if outcome.state == state]
    listed = f"all of {len(outcomes)}" if len(names) == len(outcomes) > LISTED else _listed(names)
    if state == "unmeasured":
        cure = ", which needs val_fraction > 0 in the recipe" if metric == "selected_acc" else ""
        return f"Finished without {metric}{cure}: {counted(len(names), 'cell')} ({listed})."
    return f"{WORDS[state]}: {counted(len(names), 'cell')} ({listed})."


def _guarded(rows: Sequence[Row]) -> list[str]:
    """Tell which comparisons the guard keeps from being judged, and which were forced."""
    kept: list[str] = []
    forced: list[str] = []
    for row in rows:
        for setting, score in row.scores.items():
            if (comparison := score.comparison) is not None and comparison.obstacles:
                line = f"{row.name}/{setting}: {', '.join(comparison.obstacles)}"
                (kept if comparison.blocked else forced).append(line)
    notes = []
    if kept:
        notes.append(f"Not compared, their runs differ in more than normalization (--force does): {_listed(kept)}.")
    if forced:
        notes.append(f"Compared by force, their runs differ in more than normalization: {_listed(forced)}.")
    return notes


def _unpaired(rows: Sequence[Row], baseline: str) -> list[str]:
    """Tell deltas over fewer seeds than both means are over, and those that cannot be taken at all."""
    none, fewer = [], []
    for row in rows:
        seeds = row.scores[baseline].n
        for setting, score in row.scores.items():
            if setting == baseline or not score.n or not seeds:
                continue
            if score.delta is None:
                none.append(f"{row.name}/{setting}")
            elif score.delta.n < max(score.n, seeds):
                fewer.append(f"{row.name}/{setting} ({counted(score.delta.n, 'pair')})")
    notes = []
    if none:
        notes.append(f"No seed in common with {baseline}, so no delta: {_listed(none)}.")
    if fewer:
        notes.append(f"Delta over the common seeds only, not the difference of the means shown: {_listed(fewer)}.")
    return notes


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"
