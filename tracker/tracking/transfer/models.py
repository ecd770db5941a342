"""Write logged and registered models into MLflow, so that doing it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracker.study.errors import TrackingError
from tracker.tracking.client import shown, talking_to
from tracker.tracking.delivery import UPLOAD_SECONDS
from tracker.tracking.transfer.reading import all_models
from tracker.tracking.transfer.records import Ids, MovedModel, MovedRegistered, MovedVersion
from tracker.tracking.transfer.writing import FROM_TAG, Content, send_files

MODEL_TAG = "tracker.imported_model"
"""Of a logged model: the id it had where it comes from."""
GAP_TAG = "tracker.placeholder"
"""Of a version that only takes a number which was deleted at the old place; it is deleted again."""


OF_SERVER = "mlflow.modelVersions"
"""A tag of a logged model that the server writes itself when a version of it is registered."""


def write_models(
    uri: str, experiment_id: str, models: list[MovedModel], content: Content, scratch: Path, ids: Ids
) -> None:
    """Make the logged models of an experiment, whose runs are there.

    Raises:
        TrackingError: MLflow does not answer or refuses.
    """
    with talking_to(uri, UPLOAD_SECONDS) as client:
        known = {model.tags[MODEL_TAG]: model for model in all_models(client, experiment_id) if MODEL_TAG in model.tags}
        for model in models:
            made = known.get(model.model_id)
            if made is None:
                tags = {**ids.rewritten(model.tags), MODEL_TAG: model.model_id}
                tags.pop(OF_SERVER, None)
                source_run = ids.runs.get(model.source_run_id, model.source_run_id) if model.source_run_id else None
                made = client.create_logged_model(
                    experiment_id, model.name, source_run, tags, model.params, model.model_type
                )
            ids.models[model.model_id] = made.model_id
            if made.status.value == "PENDING":
                owner = f"model {model.name}"
                send_files(uri, made.artifact_location, model.files, content, scratch, owner)
                if model.status != "PENDING":
                    client.finalize_logged_model(made.model_id, model.status)


def check_models_free(client: MlflowClient, uri: str, models: list[MovedRegistered], origin: str) -> None:
    """See that no registered model is there yet, except by an import of the same.

    Raises:
        TrackingError: one is.
    """
    for model in models:
        try:
            there = client.get_registered_model(model.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue
        if there.tags.get(FROM_TAG) != origin:
            raise TrackingError(
                f"MLflow at {shown(uri)} has a registered model {model.name!r} already; versions of two places are "
                "not mixed",
                "rename the one there in MLflow's page of the model, then import again",
            )


def write_registered(uri: str, model: MovedRegistered, origin: str, ids: Ids) -> None:
    """Make a registered model with its versions under their numbers, and its aliases.

    Raises:
        TrackingError: it is there and was not made from this, or MLflow refuses.
    """
    with talking_to(uri, UPLOAD_SECONDS) as client:
        check_models_free(client, uri, [model], origin)
        try:
            client.create_registered_model(
                model.name, {**ids.rewritten(model.tags), FROM_TAG: origin}, model.description
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        there = {int(found.version): found.tags for found in client.search_model_versions(f"name='{model.name}'")}
        wanted = {version.version: version for version in model.versions}
        # MLflow numbers versions by itself, so each number is taken in turn, and gaps are given back at the end.
        for number in range(max(there, default=0) + 1, max(wanted, default=0) + 1):
            if number in wanted:
                made = _create(client, model.name, wanted[number], ids)
                there[made] = {}
            else:
                made = _fill_gap(client, model.name, ids.runs[model.versions[0].run_id])
                there[made] = {GAP_TAG: "true"}
            if made != number:
                raise TrackingError(
                    f"MLflow at {shown(uri)} gave {model.name} version {made}, not {number}",
                    "end what else registers under this name, delete the model, then import again",
                )
        for number, tags in there.items():
            if GAP_TAG in tags:
                client.delete_model_version(model.name, str(number))
        for alias, number in model.aliases.items():
            client.set_registered_model_alias(model.name, alias, str(number))


def _create(client: MlflowClient, name: str, version: MovedVersion, ids: Ids) -> int:
    """Register a version; return its number."""
    made = client.create_model_version(
        name,
        source=ids.rewrite(version.source),
        run_id=ids.runs.get(version.run_id, version.run_id),
        tags=ids.rewritten(version.tags),
        description=None if version.description is None else ids.rewrite(version.description),
        model_id=ids.models.get(version.model_id) if version.model_id else None,
        await_creation_for=0,
    )
    return int(made.version)


def _fill_gap(client: MlflowClient, name: str, run_id: str) -> int:
    """Register a version without files; return its number."""
    made = client.create_model_version(
        name, source=f"runs:/{run_id}/nothing", run_id=run_id, tags={GAP_TAG: "true"}, await_creation_for=0
    )
    return int(made.version)
