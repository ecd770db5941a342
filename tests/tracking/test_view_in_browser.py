"""The address of a study, in a browser that was never there: kept short, `tests/browser` clicks further."""

from __future__ import annotations

import pytest

from tests.browser.chromium import running_browser
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.tracking.writing import StudyTracking


@pytest.mark.browser
def test_the_address_opens_on_the_cells(home: Home, uri: str, study: Study) -> None:
    """MLflow understands our view: the cells alone, the best on top, settings before accuracies, no assistant."""
    tracking = StudyTracking(uri, home, study)
    place = tracking.open()
    for accuracy, cell in zip((0.5, 0.75), study.cells, strict=True):
        run = StudyTracking(uri, home, study, place).cell_run(cell, f"b-{cell.id}")
        run.log_epoch(0, {"test_acc": accuracy, "best_acc": accuracy})
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    with running_browser() as browser, browser.visit(tracking.url) as visit:
        visit.sees("2 matching runs")
        visit.sees("0.75", exact=True)
        names = visit.page.get_by_text("resnet18/digits/").all_inner_texts()
        assert names == [cell.name for cell in reversed(study.cells)]
        visit.has_columns(["normalization", "seed", "dataset", "model", "best_acc"])
        assert not visit.page.get_by_text("Assistant").filter(visible=True).count()
