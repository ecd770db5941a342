"""Rules of failure: which class is tried again, when, and how often."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracker.study.failures import FAILURES, MACHINE_FAILURES, Failure, FailureClass, RetryPolicy

CLASSES = get_args(FailureClass)

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 10_000),
    wait_seconds=st.floats(0.001, 1e4),
    max_wait_seconds=st.floats(0.001, 1e6),
    retry_exceptions=st.booleans(),
)


def test_every_class_is_explained() -> None:
    """Each class says what it means, and those of the machine are among them."""
    assert list(FAILURES) == list(CLASSES)
    assert len(CLASSES) == 6
    assert {"out-of-memory", "device", "lost-worker"} == MACHINE_FAILURES
    assert all(len(meaning) > 10 for meaning in FAILURES.values())


def test_waits_double_up_to_the_longest() -> None:
    """Each further attempt waits twice as long, and never longer than the longest wait."""
    policy = RetryPolicy(max_attempts=8, wait_seconds=5, max_wait_seconds=100)
    waits = [policy.wait_after("device", failures) for failures in range(1, 9)]
    assert waits == [5, 10, 20, 40, 80, 100, 100, None]


def test_the_policy_unless_told_otherwise() -> None:
    """A machine's failure is tried again twice, an exception never."""
    waits = [RetryPolicy().wait_after("lost-worker", failures) for failures in (1, 2, 3)]
    assert waits == [5, 10, None]
    assert RetryPolicy().wait_after("exception", 1) is None
    assert RetryPolicy(max_attempts=1).wait_after("lost-worker", 1) is None


@pytest.mark.parametrize("failure_class", CLASSES)
@pytest.mark.parametrize("retry_exceptions", [False, True])
def test_which_classes_are_tried_again(failure_class: FailureClass, retry_exceptions: bool) -> None:
    """The machine's failures always are, exceptions only if asked; a bad loss and missing data would fail again."""
    again = RetryPolicy(retry_exceptions=retry_exceptions).wait_after(failure_class, 1) is not None
    assert again == (failure_class in MACHINE_FAILURES or (failure_class == "exception" and retry_exceptions))


@given(policies, st.sampled_from(CLASSES), st.integers(1, 20_000))
@example(RetryPolicy(max_attempts=10_000), "device", 5_000)
def test_attempts_and_waits_are_bounded(policy: RetryPolicy, failure_class: FailureClass, failures: int) -> None:
    """No wait is negative, longer than the longest or shorter than the one before, and the attempts end."""
    wait = policy.wait_after(failure_class, failures)
    if wait is None:
        assert policy.wait_after(failure_class, failures + 1) is None
        return
    assert failures < policy.max_attempts
    assert 0 < wait <= policy.max_wait_seconds
    assert failures == 1 or wait >= (policy.wait_after(failure_class, failures - 1) or 0)


def test_failures_cross_process_borders() -> None:
    """A worker's failure and its policy arrive as they were."""
    for value in (Failure("out-of-memory", "MemoryError", "too little"), RetryPolicy(7, 1.5, 60, True)):
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301
