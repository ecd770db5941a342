"""What a run was given: its image sets, as MLflow's dataset column and page show them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tracker.tracking.events import Data

MAX_DIGEST = 36
"""Characters that MLflow takes."""


def dataset_event(name: str, fingerprint: str, context: str, profile: Mapping[str, Any]) -> Data:
    """Return the event that names an image set.

    Args:
        profile: numbers worth showing; with `channels` and `image_size` the form of images and labels is known.
    """
    source = json.dumps({"dataset": name, "fingerprint": fingerprint})
    return Data(name, fingerprint[:MAX_DIGEST], context, source, json.dumps(dict(profile)), _schema(profile))


def _schema(profile: Mapping[str, Any]) -> str | None:
    """Return the form of images and labels as MLflow writes it for arrays; None where it is not known."""
    if not {"channels", "image_size"} <= profile.keys():
        return None
    images = [-1, profile["channels"], profile["image_size"], profile["image_size"]]
    parts = {"features": ("uint8", images), "targets": ("int64", [-1])}
    specs = {
        part: json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}])
        for part, (dtype, shape) in parts.items()
    }
    return json.dumps({"mlflow_tensorspec": specs})
