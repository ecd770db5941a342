"""optuna-dashboard on the same study, in a real browser."""

from __future__ import annotations

import threading

import pytest

from tests.browser.chromium import Browser
from tests.browser.conftest import Swept
from tracker.ledger.dashboard import Dashboard
from tracker.ledger.ledger import local_url
from tracker.study.home import Home

pytestmark = [pytest.mark.browser, pytest.mark.soak, pytest.mark.timeout(900)]


def test_the_dashboard_shows_the_grid(browser: Browser, swept: Swept) -> None:
    """It opens on the study, with its question and best trial; each cell is a trial with its params."""
    dashboard = Dashboard(local_url(Home(swept.home)))
    thread = threading.Thread(target=dashboard.serve)
    thread.start()
    try:
        address = dashboard.study_address("small")
        with browser.visit(address) as visit:
            visit.sees("small (id=")
            visit.sees("Does a small study run whole?")
            visit.sees("Best Trial")
            visit.sees("normalization")
        with browser.visit(f"{address}/trials") as visit:
            visit.sees("4 Trials")
            visit.sees("normalization pretrain")
            visit.sees(swept.runs[0].cell_id)
    finally:
        dashboard.stop()
        thread.join()
