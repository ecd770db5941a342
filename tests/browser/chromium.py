"""A real browser, in a profile that has never been used, and what went wrong on its pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1440, 1000), (420, 900)
PATIENCE = 60_000
"""Milliseconds to wait for something to show; a page with charts takes some seconds on a busy core."""
MLFLOWS_OWN = (
    "/mlflow/users/current",  # asked for whether there is a log-in or not
    "/mlflow/assistant",  # switched off by our server
    "ResizeObserver loop",  # Chromium's way to say that a chart was resized twice in a frame
)


def executable() -> str | None:
    """Return the browser of this machine: one on the PATH, else Playwright's own if it was installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found


@dataclass
class Visit:
    """A page in a profile of its own, and the errors that its console showed."""

    page: Any
    errors: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep an error, unless MLflow makes it on every page."""
        if not any(known in text for known in MLFLOWS_OWN):
            self.errors.append(text)

    def sees(self, text: str, *, exact: bool = False) -> None:
        """Wait until a text can be seen."""
        self.page.get_by_text(text, exact=exact).filter(visible=True).first.wait_for(timeout=PATIENCE)

    def has_columns(self, wanted: list[str]) -> None:
        """Wait until these columns of MLflow's table stand in this order, whatever else stands between them."""
        found: list[str] = []
        for _ in range(PATIENCE // 250):
            headers = self.page.locator(".ag-header-cell").all()
            places = [(header.bounding_box(), header.inner_text().strip()) for header in headers]
            seen = sorted((box["x"], text) for box, text in places if box and box["width"] and text in wanted)
            found = list(dict.fromkeys(text for _, text in seen))
            if found == wanted:
                return
            self.page.wait_for_timeout(250)
        assert found == wanted

    def clicks(self, text: str, *, exact: bool = False) -> None:
        """Click what has this text."""
        self.page.get_by_text(text, exact=exact).filter(visible=True).first.click(timeout=PATIENCE)


class Browser:
    """Opens addresses, each as somebody who has never been there."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @contextmanager
    def visit(self, address: str, size: tuple[int, int] = DESKTOP, **profile: Any) -> Iterator[Visit]:
        """Yield the page at an address; afterwards its console must have shown no error."""
        context = self._browser.new_context(viewport={"width": size[0], "height": size[1]}, **profile)
        page = context.new_page()
        visit = Visit(page)
        page.on("pageerror", lambda error: visit.note(f"exception: {error}"))
        page.on(
            "console",
            lambda message: visit.note(f"{message.text} {message.location}") if message.type == "error" else None,
        )
        page.goto(address, timeout=PATIENCE)
        try:
            yield visit
        finally:
            context.close()
        assert visit.errors == []


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Yield a browser; skip the test where this machine has none."""
    path = executable()
    if path is None:
        pytest.skip("needs Chromium or Chrome on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield Browser(browser)
        finally:
            browser.close()
