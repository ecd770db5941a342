"""All that a report tells, gathered once, before any format is thought of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracker.compare.comparison import Rules
from tracker.compare.history import History, read_history
from tracker.compare.outputs import judged_leaderboard, swept_study
from tracker.compare.published.claims import Claim, check
from tracker.compare.published.findings import find
from tracker.compare.published.results import SOURCE, published_board, published_runs, published_study
from tracker.compare.reporting.channels import Channels, DatasetFacts, channels_of, dataset_facts
from tracker.compare.reporting.cost import Cost, costs_of
from tracker.compare.reporting.models import ModelFacts, model_facts
from tracker.compare.reporting.protocol import Protocol, protocol_of
from tracker.compare.reporting.shifts import with_shifts
from tracker.compare.scores import Leaderboard
from tracker.compare.shift import ShiftReport, shift_report
from tracker.significance.verdicts import ROPE
from tracker.study.home import Home
from tracker.study.metrics import RANKING_METRICS
from tracker.study.study import Study
from tracker.tracking.reading import read_histories, read_runs

OWN, PRETRAINED = "finetune", "pretrain"
"""The two settings of the reference study's Table 2."""


@dataclass(frozen=True)
class Content:
    """What is known of a study.

    Args:
        board: by the metric and against the baseline asked for.
        others: by the other metrics that runs have.
        pair: with `pretrain` as baseline, where the study has it and `finetune`.
        datasets, channels, models, costs, shift, protocol: see there; empty where nothing is known.
        history: None where there are no histories, as of published results.
        commands: what makes this study, its table and its report.
        source: where results come from that were not made here; "" for a study's own.
        run_id: of the study's own run, that a report is logged to; "" without one.
        claims: of the reference study, where its results are reported.
    """

    study: Study
    board: Leaderboard
    others: tuple[Leaderboard, ...]
    pair: Leaderboard | None
    datasets: tuple[DatasetFacts, ...]
    channels: tuple[Channels, ...]
    models: tuple[ModelFacts, ...]
    costs: tuple[Cost, ...]
    shift: ShiftReport
    protocol: Protocol
    history: History | None
    commands: tuple[str, ...]
    source: str = ""
    run_id: str = ""
    claims: tuple[Claim, ...] = ()


def study_content(
    uri: str,
    home: Home,
    study_name: str | None = None,
    metric: str = "best_acc",
    baseline: str | None = None,
    *,
    rope: float = ROPE,
    force: bool = False,
) -> Content:
    """Read a study from MLflow, with all that a report tells of it.

    Args:
        uri: where MLflow keeps the runs.
        home: where images may lie, and where predictions that were read are kept.
        study_name: the newest study if None.
        metric: one of `RANKING_METRICS`.
        baseline: the study's own if None.
        rope: differences below it are of no use, a fraction.
        force: judge also runs that were made under different conditions.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
        UsageError: an unknown metric or baseline.
    """
    study, record = swept_study(uri, study_name)
    runs = read_runs(uri, study.name)

    def judged(by: str, against: str | None) -> Leaderboard:
        return judged_leaderboard(uri, home, study, runs, by, against, rope=rope, force=force)

    board = judged(metric, baseline)
    had = {name for run in runs if run.status == "FINISHED" for name in run.metrics}
    measured = [outcome.run_id for outcome in board.outcomes if outcome.state == "measured" and outcome.run_id]
    datasets = dataset_facts(study, runs, home)
    return Content(
        study=study,
        board=board,
        others=tuple(judged(other, baseline) for other in RANKING_METRICS if other != metric and other in had),
        pair=_pair(board, lambda: judged(metric, PRETRAINED)),
        datasets=tuple(datasets),
        channels=tuple(channels_of(study, datasets, home)),
        models=_models(study),
        costs=tuple(costs_of(board, runs, read_histories(uri, measured, "epoch_seconds"))),
        shift=shift_report(board, runs),
        protocol=protocol_of(study, board, runs),
        history=read_history(uri, study, runs),
        commands=_commands(study, board),
        run_id=record.run_id,
    )


def published_content(baseline: str | None = None, rope: float = ROPE) -> Content:
    """Gather the reference study's published results: best accuracies of one seed, with its claims held against them.

    Args:
        baseline: pretrain if None.
        rope: differences below it are of no use, a fraction.

    Raises:
        UsageError: the baseline is not one of the four settings.
    """
    study = published_study()
    runs = published_runs(study)
    rules = Rules(rope=rope)
    board = published_board(baseline, rules)
    datasets = dataset_facts(study, runs, None)
    channels = channels_of(study, datasets, None)
    return Content(
        study=study,
        board=board,
        others=(),
        pair=_pair(board, lambda: published_board(PRETRAINED, rules)),
        datasets=tuple(datasets),
        channels=tuple(channels),
        models=_models(study),
        costs=(),
        shift=shift_report(board, with_shifts(study, runs, channels)),
        protocol=protocol_of(study, board, runs),
        history=None,
        commands=("tracker compare --published", "tracker report --published -o DIR"),
        source=SOURCE,
        claims=check(find(published_board(PRETRAINED, rules))),
    )


def _pair(board: Leaderboard, against_pretrained: Callable[[], Leaderboard]) -> Leaderboard | None:
    if not {OWN, PRETRAINED} <= set(board.settings):
        return None
    return board if board.baseline == PRETRAINED else against_pretrained()


def _models(study: Study) -> tuple[ModelFacts, ...]:
    return tuple(model_facts(dict.fromkeys(cell.recipe.model for cell in study.cells)))


def _commands(study: Study, board: Leaderboard) -> tuple[str, ...]:
    options = f" --metric {board.metric}" * (board.metric != RANKING_METRICS[0])
    options += f" --baseline {board.baseline}" * (board.baseline != study.baseline)
    options += f" --rope {100 * board.rules.rope:g}" * (board.rules.rope != ROPE) + " --force" * board.rules.force
    return (
        f"tracker sweep --study {study.name}",
        f"tracker compare --study {study.name}{options}",
        f"tracker report --study {study.name}{options} -o DIR",
    )
