"""Show an address to whoever sits in front of this machine."""

from __future__ import annotations


def open_in_browser(address: str) -> None:
    """Open an address in the default browser, where there is a display to open one on."""
    import os
    import sys
    import webbrowser

    # Without a display webbrowser would take the terminal for a text browser.
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
