"""The pictures of a comparison, each drawn once."""

from __future__ import annotations

import pytest

from tests.figures.drawing import DRAWS, Drawn


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Draw every picture once, each in a folder of its own that is not there yet."""
    folder = tmp_path_factory.mktemp("drawn")
    return {draw: draw(folder / draw.__name__ / "study.v2") for draw in DRAWS}
