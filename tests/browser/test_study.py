"""What someone sees who follows the link that a sweep prints: real pages, clicked through."""

from __future__ import annotations

import pytest

from tests.browser.chromium import DESKTOP, PATIENCE, PHONE, Browser
from tests.browser.conftest import Swept

pytestmark = [pytest.mark.browser, pytest.mark.soak, pytest.mark.timeout(900)]


def test_the_link_opens_the_table_of_the_cells(browser: Browser, swept: Swept) -> None:
    """In a browser that was never there: a row for each cell, what tells them apart in view, no run of the study."""
    with browser.visit(swept.link) as visit:
        visit.sees("4 matching runs")
        for run in swept.runs:
            visit.sees(run.name, exact=True)
        visit.has_columns(["normalization", "seed", "dataset", "model", "best_acc"])
        assert not visit.page.locator(".ag-cell", has_text="study: small").count()
        assert not visit.page.get_by_text("MLflow Assistant").filter(visible=True).count()


def test_the_description_asks_answers_and_leads_on(browser: Browser, swept: Swept) -> None:
    """Folded it shows the question; unfolded the answer, how much is done, the grid, and links that work."""
    with browser.visit(swept.link) as visit:
        visit.sees("Does a small study run whole?")
        visit.page.locator("[data-component-id='mlflow.experiment.metadata_editor.expand_button']").click()
        for words in ("4 of 4 cells finished", "Differences to pretrain in points", "pretrain, minmax"):
            visit.sees(words)
        with visit.page.expect_popup(timeout=PATIENCE) as opened:
            visit.clicks("Leaderboard, figures, report")
        opened.value.get_by_text("leaderboard", exact=True).first.wait_for(timeout=PATIENCE)


def test_the_study_s_run_shows_leaderboard_figure_and_report(browser: Browser, swept: Swept) -> None:
    """Its artifacts open in the page: the table as text, the figure as a picture, the report as a page."""
    study_run = swept.runs[0].tags["tracker.study_run_id"]
    with browser.visit(f"{swept.experiment}/runs/{study_run}/artifacts?workflowType=machine_learning") as visit:
        visit.clicks("leaderboard", exact=True)
        visit.clicks("leaderboard.md")
        visit.sees("Percent, mean")
        visit.clicks("figures", exact=True)
        visit.clicks("history.png")
        picture = visit.page.locator("img[src*=blob], img[src*=history], canvas").filter(visible=True).first
        picture.wait_for(timeout=PATIENCE)


def test_a_cell_s_run_shows_results_data_machine_and_checkpoint(browser: Browser, swept: Swept) -> None:
    """Results come first; each split is named; the machine was measured; the checkpoint lies under its run."""
    run = swept.runs[0]
    page = f"{swept.experiment}/runs/{run.run_id}"
    with browser.visit(f"{page}?workflowType=machine_learning", (1440, 1600)) as visit:
        visit.sees(run.name)
        visit.sees("One cell of")
        visit.sees("best_acc", exact=True)
        visit.sees("high (")
        visit.clicks("high (")
        visit.sees("3 datasets used")
        visit.page.keyboard.press("Escape")
    with browser.visit(f"{page}/system-metrics?workflowType=machine_learning") as visit:
        visit.sees("cpu_utilization_percentage", exact=True)
        visit.sees("process_memory_usage_megabytes", exact=True)
    with browser.visit(f"{page}/artifacts?workflowType=machine_learning") as visit:
        visit.clicks("checkpoint", exact=True)
        visit.sees("best.safetensors")
        visit.clicks("figures", exact=True)
        visit.clicks("confusion_matrix.png")
        visit.page.locator("img, canvas").filter(visible=True).last.wait_for(timeout=PATIENCE)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_curves_average_the_seeds(browser: Browser, swept: Swept, size: tuple[int, int]) -> None:
    """The second view shows charts: a group for each configuration, and sections in our order."""
    address = swept.link.replace("viewStateShareKey=cells", "viewStateShareKey=curves&compareRunsMode=CHART")
    with browser.visit(address, size) as visit:
        visit.sees("Group by: tracker.configuration")
        for setting in ("pretrain", "minmax"):
            visit.sees(f"Group: normalization={setting}", exact=True)
        assert visit.page.get_by_text("Group: normalization=").count() == 2
        if size == DESKTOP:
            for section in ("Accuracy", "Loss"):
                visit.sees(section, exact=True)
            visit.page.locator(".js-plotly-plot").first.wait_for(timeout=PATIENCE)


def test_runs_are_compared(browser: Browser, swept: Swept) -> None:
    """Several cells side by side: their names, what differs between them, and their accuracy."""
    ids = ",".join(f'"{run.run_id}"' for run in swept.runs[:3])
    experiment = swept.experiment.rpartition("/")[2]
    with browser.visit(f'{swept.uri}/#/compare-runs?runs=[{ids}]&experiments=["{experiment}"]') as visit:
        visit.sees("Comparing 3 Runs")
        for run in swept.runs[:3]:
            visit.sees(run.name, exact=True)
        visit.sees("normalization", exact=True)
