"""The network that is exported, and the two files it can be written to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracker.deploy.resize import CentreResize
from tracker.study.errors import TrackerError
from tracker.vision.models import Classifier

INPUT, OUTPUT = "images", "probabilities"
MODEL_JSON = "model.json"
"""What a file says of itself, inside a torch.export archive, in ONNX's metadata, and beside both."""
TORCH_FILE, ONNX_FILE = "model.pt2", "model.onnx"


class Pipeline(nn.Module):
    """Raw images in, probabilities out: resize, then the classifier with its normalization, then softmax.

    Args:
        image_size: S, what the classifier was trained on.
    """

    def __init__(self, classifier: Classifier, image_size: int) -> None:
        super().__init__()
        self.resize = CentreResize(image_size)
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities, float32, (N, K), of uint8 images, (N, C, H, W)."""
        probabilities: Tensor = self.classifier(self.resize(images)).softmax(dim=1)
        return probabilities


def check_exporter(form: str) -> None:
    """See that what an export to `form` needs is installed.

    Raises:
        TrackerError: it is not; says what to install.
    """
    if form == "onnx" and (missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]):
        raise TrackerError(
            f"--format onnx needs {', '.join(missing)}, not installed here", "pip install 'norm-tracker[onnx]'"
        )


def save_torch(pipeline: Pipeline, channels: int, facts: str, path: Path) -> None:
    """Write a torch.export archive for any number, height and width of images.

    Args:
        channels: C of the images.
        facts: JSON, kept inside as `model.json`.

    Raises:
        TrackerError: torch.export cannot take this network.

    Writes: `path`.
    """
    with _exporting(pipeline):
        program = torch.export.export(pipeline, (_example(pipeline, channels),), dynamic_shapes=_dynamic())
    torch.export.save(program, path, extra_files={MODEL_JSON: facts})


def save_onnx(pipeline: Pipeline, channels: int, facts: str, path: Path) -> None:
    """Write an ONNX file for any number, height and width of images.

    Args:
        channels: C of the images.
        facts: JSON, kept inside as the metadata `model.json`.

    Raises:
        TrackerError: torch.onnx cannot take this network.

    Writes: `path`.
    """
    with _exporting(pipeline):
        program = torch.onnx.export(
            pipeline,
            (_example(pipeline, channels),),
            dynamo=True,
            dynamic_shapes=_dynamic(),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[MODEL_JSON] = facts
    program.save(path, external_data=False)


def _example(pipeline: Pipeline, channels: int) -> Tensor:
    size = pipeline.resize.size
    # Neither square nor a single image nor of the size itself, lest one of these be taken for a constant.
    return torch.zeros((2, channels, size + 3, size + 5), dtype=torch.uint8)


def _dynamic() -> tuple[Mapping[int, Any]]:
    return ({0: torch.export.Dim("count", min=1), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")},)


@contextmanager
def _exporting(pipeline: Pipeline) -> Iterator[None]:
    """Trace without gradients; what the tracer raises becomes an error that names the network."""
    network = type(pipeline.classifier.network).__name__
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's remarks on torch's own code
            yield
    except Exception as error:  # it raises nearly anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrackerError(f"{network} cannot be exported: {first}", "try another --format") from error
