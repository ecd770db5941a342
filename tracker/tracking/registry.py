"""Exported networks in MLflow: saved in its form, registered under a study's name, fetched again."""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tracker.study.errors import TrackingError, UsageError
from tracker.tracking.artifacts import repository
from tracker.tracking.client import short, shown, talking_to
from tracker.tracking.delivery import UPLOAD_SECONDS

CHAMPION = "champion"
"""The alias of the version that was exported last."""
CONTENT_TAG = "tracker.content"
"""Of a version: what decides its answers. Equal content is not registered twice."""
CELL_TAG = "tracker.cell"
DESCRIBE = "describe"
"""The parameter that makes a served network say what it is, instead of looking at images."""
REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class Registration:
    """What became of an export in MLflow's registry.

    Args:
        name, version: of the registered model; the alias `champion` is on it now.
        is_new: false where a version of equal content was there already.
        previous: what `champion` was before, as `version 1 (CELL)`; None if nothing or the same.
    """

    name: str
    version: str
    is_new: bool
    previous: str | None

    @property
    def uri(self) -> str:
        """What `mlflow models serve` and `tracker predict` take."""
        return f"models:/{self.name}@{CHAMPION}"


def save_served(folder: Path, network: Path, channels: int, requirements: Sequence[str]) -> None:
    """Save an exported network as an MLflow model of flavour pyfunc, made from code: nothing is pickled.

    Args:
        folder: must not exist.
        network: a torch.export archive with `model.json` among its extra files.
        channels: C of the images it takes.
        requirements: what pip must install to serve it.

    Writes: `folder`, with a copy of the network in `artifacts`.
    """
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Map

    script = importlib.util.find_spec("tracker.tracking.served_network")
    assert script is not None and script.origin is not None
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, channels, -1, -1), name="images")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "class"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Map(DataType.double), "probabilities"),
            ]
        ),
        params=ParamSchema([ParamSpec(DESCRIBE, DataType.boolean, False)]),
    )
    with warnings.catch_warnings():
        # MLflow warns of type hints of its own when this is imported, and advises to save an example too.
        warnings.simplefilter("ignore")
        pyfunc = importlib.import_module("mlflow.pyfunc")
        pyfunc.save_model(
            str(folder),
            python_model=script.origin,
            artifacts={"network": str(network)},
            signature=signature,
            pip_requirements=list(requirements),
        )
    # It would say where the two files lay before: paths of this machine, which are nobody's business.
    model = Model.load(str(folder))
    python = model.flavors[pyfunc.FLAVOR_NAME]
    python["model_code_path"] = Path(script.origin).name
    python["artifacts"]["network"]["uri"] = python["artifacts"]["network"]["path"]
    model.save(str(folder / "MLmodel"))


def register(
    uri: str, name: str, folder: Path, run_id: str, content: str, tags: Mapping[str, str], description: str
) -> Registration:
    """Register an MLflow model under `name`, linked to its run, and give it the alias `champion`.

    Args:
        uri: of a tracking server.
        folder: as `save_served` wrote it, and what else is to go with it.
        run_id: of the cell.
        content: equal for exports that give equal answers; such a version is not made twice.
        tags: of the version; `CELL_TAG` is what a later export calls it by.

    Raises:
        TrackingError: the server does not answer or refuses.
    """
    with talking_to(uri, UPLOAD_SECONDS) as client:
        before = _champion(client, name)
        version = _same_content(client, name, content)
        is_new = version is None
        if version is None:
            version = _add(uri, client, name, folder, run_id, {**tags, CONTENT_TAG: content}, description)
        if before is None or before.version != version.version:
            client.set_registered_model_alias(name, CHAMPION, version.version)
    previous = None
    if before is not None and before.version != version.version:
        previous = f"version {before.version} ({before.tags.get(CELL_TAG, 'not exported by tracker')})"
    return Registration(name, str(version.version), is_new, previous)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # no such model, or it has no such alias
        raise


def _same_content(client: MlflowClient, name: str, content: str) -> ModelVersion | None:
    # Searched by name, looked through here: a tag's name with a dot needs quoting that stores differ on.
    found = [
        version
        for version in client.search_model_versions(f"name='{name}'")
        if version.tags.get(CONTENT_TAG) == content and version.status == "READY"
    ]
    return max(found, key=lambda version: int(version.version), default=None)


def _add(
    uri: str, client: MlflowClient, name: str, folder: Path, run_id: str, tags: dict[str, str], description: str
) -> ModelVersion:
    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=tags)
    try:
        repository(uri, logged.artifact_location).log_artifacts(str(folder))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        name,
        source=f"models:/{logged.model_id}",
        run_id=run_id,
        tags=tags,
        description=description,
        model_id=logged.model_id,
        await_creation_for=0,  # a store of its own is done by then; waiting would say so on the terminal
    )


def fetch_registered(uri: str, where: str, folder: Path) -> str:
    """Download a registered model's files.

    Args:
        uri: where MLflow keeps it.
        where: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        folder: exists.

    Returns:
        What was fetched, in words.

    Raises:
        UsageError: `where` is neither.
        TrackingError: MLflow does not answer, or has no such model.

    Writes: files into `folder`.
    """
    match = REGISTERED.fullmatch(where)
    if match is None:
        raise UsageError(
            f"{where!r} names no registered model", "accepted: models:/NAME@champion, models:/NAME/VERSION"
        )
    with talking_to(uri, UPLOAD_SECONDS) as client:
        try:
            if match["alias"] is not None:
                version = client.get_model_version_by_alias(match["name"], match["alias"])
            else:
                version = client.get_model_version(match["name"], match["version"])
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            known = ", ".join(model.name for model in client.search_registered_models()) or "none"
            raise TrackingError(
                f"MLflow at {shown(uri)} has no {where}",
                f"there are: {known}; `tracker export --format mlflow` adds one",
            ) from error
        place = client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
        try:
            repository(uri, place).download_artifacts("", str(folder))
        except OSError as error:  # requests' errors are OSErrors too
            raise TrackingError(f"MLflow at {shown(uri)}: {where}: {short(error)}") from error
    return f"{match['name']} version {version.version}"
