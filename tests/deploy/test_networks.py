"""Networks of other kinds, exported in every format and verified as an export is. Minutes: run with -m soak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracker.deploy.opening import run_onnx, run_torch
from tracker.deploy.pipeline import Pipeline, save_onnx, save_torch
from tracker.deploy.verifying import Probe, verify
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import BUILDERS, build_normalization

NETWORKS = {
    "resnet50": 32,
    "densenet121": 32,
    "googlenet": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "vit_b_16": 224,
}
"""One of each family, and a size it takes."""


@pytest.mark.soak
@pytest.mark.parametrize("model", NETWORKS)
def test_each_family_in_each_format(model: str, tmp_path: Path) -> None:
    """An export of an untrained network agrees with it, also for gray images that it takes threefold."""
    size = NETWORKS[model]
    number = list(NETWORKS).index(model)
    statistics = Statistics((0.3, 0.3, 0.3), (0.2, 0.2, 0.2))
    normalization = build_normalization(list(BUILDERS)[number % 4], target=statistics, source=statistics)
    network, head = build_network(model, channels=3, classes=5, seed=number)
    classifier = Classifier(normalization, network, head, 3).eval()
    channels = 1 if number % 2 else 3
    images = Probe(np.random.default_rng(0).integers(0, 256, (5, channels, size, size), np.uint8), "images of noise")
    pipeline = Pipeline(classifier, size).eval()
    save_torch(pipeline, channels, "{}", tmp_path / "model.pt2")
    save_onnx(pipeline, channels, "{}", tmp_path / "model.onnx")
    for run in (run_torch(tmp_path / "model.pt2"), run_onnx(tmp_path / "model.onnx")):
        assert verify(classifier, run, images, size).max_difference < 1e-5
