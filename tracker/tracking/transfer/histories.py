"""Every point of every metric of a run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import nan

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.dbmodels.models import SqlMetric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

THREADS = 4

Point = tuple[int, int, float]
"""Step, milliseconds since 1970, value."""


def histories(client: MlflowClient, run: Run) -> dict[str, list[Point]]:
    """Return the points of each metric, sorted: by one query where MLflow is a database, by a call a metric otherwise.

    Raises:
        MlflowException: MLflow does not answer.
    """
    store = client._tracking_client.store
    found = _queried(store, run) if isinstance(store, SqlAlchemyStore) else _asked(client, run)
    return {name: sorted(found[name]) for name in sorted(found)}


def _queried(store: SqlAlchemyStore, run: Run) -> dict[str, list[Point]]:
    """Ask for plain rows: MLflow's own calls make an object of each, and there are a thousand a run."""
    found: dict[str, list[Point]] = {}
    columns = (SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)
    with store.ManagedSessionMaker() as session:
        for key, step, timestamp, value, is_nan in session.query(*columns).filter(
            SqlMetric.run_uuid == run.info.run_id
        ):
            found.setdefault(key, []).append((step, timestamp, nan if is_nan else value))
    return found


def _asked(client: MlflowClient, run: Run) -> dict[str, list[Point]]:
    names = list(run.data.metrics)
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        every = pool.map(lambda name: client.get_metric_history(run.info.run_id, name), names)
        return {
            name: [(point.step, point.timestamp, point.value) for point in points]
            for name, points in zip(names, every, strict=True)
        }
