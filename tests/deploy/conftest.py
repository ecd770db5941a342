"""One study, swept by hand, that the tests of this wing share."""

from __future__ import annotations

import pytest

from tests.deploy.swept import Swept, shared_sweep


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A home with a study whose cells kept their best checkpoint; nobody changes its runs."""
    return shared_sweep(tmp_path_factory)
