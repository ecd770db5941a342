"""Everything a sweep needs, looked at in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata

from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.checkup.extensions import check_extensions
from tracker.sweep.checkup.finding import Finding
from tracker.sweep.checkup.machine import check_device, check_disk, check_packages, check_python
from tracker.sweep.checkup.needs import check_agreement, check_datasets, check_sources
from tracker.sweep.checkup.stores import check_tracking, check_trials, check_weights


def check_up(
    home: Home, device: str = "auto", study: Study | None = None, storage: str | None = None
) -> Iterator[Finding]:
    """Look at everything a sweep needs, and yield each finding as it is made.

    Args:
        device: the one to look at: `auto`, `cpu`, `cuda` or `cuda:N`.
        study: also look for its datasets and sources, and whether the stores agree about it.
        storage: URL of the trial database; None for the local one.

    Raises:
        UsageError: a device or a study that no machine could have.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("extensions", partial(check_extensions, study)),
        ("device", partial(check_device, device)),
        ("disk", partial(check_disk, home)),
        ("trials", partial(check_trials, home, storage)),
        ("tracking", partial(check_tracking, home)),
        ("weights", partial(check_weights, home)),
    ]
    if study is not None:
        checks += [
            ("datasets", partial(check_datasets, study, home)),
            ("sources", partial(check_sources, study, home)),
            ("agreement", partial(check_agreement, study, home, storage)),
        ]
    for topic, check in checks:
        try:
            yield from check()
        except UsageError:  # the study or an option is wrong, whatever the machine
            raise
        except TrackerError as error:
            yield Finding(topic, "problem", error.message, error.cure)
        except metadata.PackageNotFoundError as error:
            yield Finding(topic, "problem", f"{error.name} is not installed here", "pip install -e . in its folder")
