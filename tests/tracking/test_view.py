"""What is written for people who browse: views, descriptions, links, the first page."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.prepared_views import CELLS, CURVES, prepared_views, view_tag
from tracker.tracking.records import RunRecord
from tracker.tracking.server.front_page import QUIET, QuietFrontPage
from tracker.tracking.view import describe_begin, describe_state, describe_study, experiment_url
from tracker.tracking.writing import MAX_EXPERIMENT_TAG


def _study(**recipe: Any) -> Study:
    document = {
        "name": "looks",
        "question": "Is it a pleasure?",
        "recipe": {"model": "resnet18", "dataset": "digits", **recipe},
        "axes": {"tune": ["full", "head"], "normalization": ["pretrain", "minmax"], "seed": [1, 2]},
    }
    return parse_study(document, file="looks.yaml")


def _views(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    tags = prepared_views(study)
    assert set(tags) == {view_tag(CELLS), view_tag(CURVES)}
    return json.loads(tags[view_tag(CELLS)]), json.loads(tags[view_tag(CURVES)])


def test_settings_stand_before_accuracies() -> None:
    """Normalization, the study's other axes, then what is always of interest; each column is chosen, placed, sized."""
    cells, _ = _views(_study())
    wanted = [
        *(f"params.`{name}`" for name in ("normalization", "tune", "seed", "dataset", "model")),
        *(f"metrics.`{name}`" for name in ("best_acc", "last_acc")),
    ]
    assert cells["selectedColumns"] == wanted
    assert [column for column in cells["columnOrder"] if column in wanted] == wanted
    assert set(cells["columnWidths"]) == set(cells["columnOrder"])
    assert cells["searchFilter"] == "tags.`tracker.kind` = 'cell'"
    assert (cells["orderByKey"], cells["orderByAsc"]) == ("metrics.`best_acc`", False)


def test_charts_are_of_metrics_that_are_logged() -> None:
    """A validation split brings its own; every chart is in a section, and has a name of its own."""
    for fraction, third in ((0.0, "train_acc"), (0.2, "val_acc")):
        cells, curves = _views(_study(val_fraction=fraction))
        for view in (cells, curves):
            sections = [section["uuid"] for section in view["compareRunSections"]]
            charts = view["compareRunCharts"]
            assert {chart["metricSectionId"] for chart in charts} == set(sections)
            assert len({chart["uuid"] for chart in charts}) == len(charts)
            first = [chart["metricKey"] for chart in charts if chart["metricSectionId"] == "Accuracy"]
            assert first == ["test_acc", "best_acc", third]
        assert ("metrics.`selected_acc`" in cells["selectedColumns"]) == bool(fraction)
        assert "groupBy" not in cells
        assert curves["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "tracker.configuration"}]


def test_views_fit_into_a_tag() -> None:
    """However many cells and axes a study has."""
    study = _study()
    grown = study.model_copy(update={"axes": {**study.axes, "seed": tuple(range(500))}})
    assert max(map(len, prepared_views(grown).values())) < MAX_EXPERIMENT_TAG / 2


@pytest.mark.parametrize(("view", "end"), [(CELLS, "&viewStateShareKey=cells"), (None, "=machine_learning")])
def test_the_address_names_the_view(view: str | None, end: str) -> None:
    """Without one MLflow shows its usual table."""
    assert experiment_url("http://h:1/", "7", view).endswith(end)


def _run(cell_id: str, status: str) -> RunRecord:
    return RunRecord("r", "n", cell_id, status, {}, {}, {}, 0, None)


def test_the_state_counts_cells() -> None:
    """A cell counts with its last run; what is not in the grid does not count; the moment is said."""
    study = _study()
    ids = [cell.id for cell in study.cells]
    runs = [_run(ids[0], "FAILED"), _run(ids[0], "FINISHED"), _run(ids[1], "KILLED"), _run("other", "FINISHED")]
    state = describe_state(study, runs)
    assert re.fullmatch(r"1 of 8 cells finished, 1 stopped, 6 not run yet, \d{4}-\d\d-\d\d \d\d:\d\d UTC", state)
    assert describe_begin(study).startswith("8 cells, being swept since ")


def test_the_description_begins_with_question_answer_and_state() -> None:
    """MLflow folds it after a few lines; the links lead to this study's pages."""
    place = {"experiment_id": "7", "run_id": "abc"}
    text = describe_study(_study(), "| a | b |\n|---|--:|\n| 1 | 2 |", headline="Yes.", state="Done", place=place)
    lines = [line for line in text.splitlines() if line]
    assert lines[:2] == ["**Is it a pleasure?**", "Yes."]
    assert lines[2].startswith("Done. [Runs](#/experiments/7/runs?")
    for page in ("viewStateShareKey=curves&compareRunsMode=CHART", "#/experiments/7/runs/abc/artifacts?"):
        assert page in lines[2]


def test_tables_have_space_between_their_columns() -> None:
    """MLflow draws them without; the line that makes a table of them stays as it is."""
    text = describe_study(_study(), "| a | b |\n|---|--:|\n| 1 | 2 |")
    assert "| a&emsp; | b&emsp; |\n|---|--:|\n| 1&emsp; | 2&emsp; |" in text


def _answered(path: str, page: bytes, status: int = 200) -> list[dict[str, Any]]:
    """Ask an application that gives `page` in two pieces, through ours."""
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html"), (b"content-length", str(len(page)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page[:5], "more_body": True})
        await send({"type": "http.response.body", "body": page[5:]})

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    asyncio.run(QuietFrontPage(inner)({"type": "http", "method": "GET", "path": path}, receive, send))
    return sent


def test_the_first_page_says_that_the_assistant_was_seen() -> None:
    """Its length is right; every other answer, and a page that is not as expected, passes unchanged."""
    page = b"<html><head><title>MLflow</title></head><body></body></html>"
    start, body = _answered("/", page)
    assert body["body"] == page.replace(b"</head>", QUIET + b"</head>")
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert b"".join(message.get("body", b"") for message in _answered("/static-files/x", page)) == page
    assert _answered("/", b"nothing of that kind")[1]["body"] == b"nothing of that kind"
    start, body = _answered("/", b"", 304)
    assert (start["status"], body["body"]) == (304, b"")
