"""The script inside an exported MLflow model. It is copied there, and needs torch, numpy, pandas and mlflow alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedNetwork(PythonModel):  # type: ignore[misc]
    """Raw images in, class names and probabilities out."""

    _skip_type_hint_validation = True
    """The signature validates; else MLflow advises to add type hints wherever this is loaded."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network, and what its file says of it."""
        extra = {"model.json": ""}
        self.network = torch.export.load(context.artifacts["network"], extra_files=extra).module()
        self.facts = json.loads(extra["model.json"])

    def predict(  # type: ignore[no-untyped-def]  # of a hint MLflow would make a signature of its own
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Classify images.

        Args:
            model_input: uint8, (N, C, H, W), or such an array by the name `images`.
            params: with `describe` true, the images are not looked at and the one row is what the file says.

        Returns:
            A row an image: class, its probability, and the probability of each class by its name.
        """
        if params and params.get("describe"):
            return pd.DataFrame([self.facts])
        images = model_input["images"] if isinstance(model_input, dict) else model_input
        with torch.inference_mode():
            found = self.network(torch.from_numpy(np.array(images, dtype=np.uint8))).double().numpy()  # (N, K)
        classes = self.facts["classes"]
        rows = []
        for row in found:
            best = int(row.argmax())
            probabilities = dict(zip(classes, row.tolist(), strict=True))
            rows.append({"class": classes[best], "probability": float(row[best]), "probabilities": probabilities})
        return pd.DataFrame(rows, columns=["class", "probability", "probabilities"])


set_model(ServedNetwork())
