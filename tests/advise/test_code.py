"""The printed code does what the sweep's own layer does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tracker.advise.code import normalization_code
from tracker.study.errors import UsageError
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import build_normalization
from tracker.vision.statistics import repeated

OWN = {1: Statistics((0.3092,), (0.3464,)), 3: Statistics((0.31, 1 / 3, 0.29), (0.21, 0.1 + 0.2, 0.19))}
SOURCE = {1: Statistics((0.30567520622606303,), (0.37,)), 3: Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
TOLERANCE = 1e-6
"""torchvision multiplies by 1 / 255 where the sweep divides by 255; relative, as values reach 12 for a small std."""


def executed(text: str) -> Any:
    """Run printed code and return its `normalize`."""
    names: dict[str, Any] = {}
    exec(text, names)  # noqa: S102
    return names["normalize"]


@pytest.mark.parametrize("setting", ["pretrain", "finetune", "instance", "minmax"])
@pytest.mark.parametrize(("images", "channels"), [(3, 3), (1, 3), (1, 1)])
def test_the_code_gives_what_the_network_was_fed(setting: str, images: int, channels: int) -> None:
    """Executed as printed, on random bytes and on a constant image, for gray images on a network in colour too."""
    code = normalization_code(setting, images=images, channels=channels, target=OWN[images], source=SOURCE[channels])
    assert len(code.lines) <= 2
    layer = build_normalization(
        setting, target=repeated(OWN[images], channels), source=repeated(SOURCE[channels], channels)
    )
    batch = torch.randint(0, 256, (4, images, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    batch[3] = 100
    expected = layer(batch.expand(-1, channels, -1, -1))
    normalize = executed(str(code))
    for found in (normalize(batch), torch.stack([normalize(image) for image in batch])):
        assert found.dtype == torch.float32 and found.shape == expected.shape
        assert torch.allclose(torch.as_tensor(found), expected, rtol=TOLERANCE, atol=TOLERANCE)
    if setting == "instance":
        assert not torch.as_tensor(normalize(batch))[3].any()
    assert (
        setting in ("minmax", "instance")
        or repr(repeated(OWN[images], channels).mean[0]) in str(code)
        or (repr(repeated(SOURCE[channels], channels).std[-1]) in str(code))
    )


def test_the_code_takes_pil_images() -> None:
    """A gray file for a network in colour: three channels, each with its own numbers."""
    pixels = np.random.default_rng(3).integers(0, 256, (9, 9), dtype=np.uint8)
    code = normalization_code("pretrain", images=1, channels=3, target=OWN[1], source=SOURCE[3])
    found = executed(str(code))(Image.fromarray(pixels))
    layer = build_normalization("pretrain", target=OWN[3], source=SOURCE[3])
    expected = layer(torch.from_numpy(pixels).expand(1, 3, -1, -1))[0]
    assert torch.allclose(torch.as_tensor(found), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_code_and_the_network_agree_to_the_logits() -> None:
    """What a user trains with the printed line starts as the classifier of the sweep does."""
    code = normalization_code("finetune", images=1, channels=3, target=OWN[1], source=SOURCE[3])
    layer = build_normalization("finetune", target=repeated(OWN[1], 3), source=None)
    network, head = build_network("mobilenet_v3_small", channels=3, classes=3, seed=0)
    classifier = Classifier(layer, network, head, 3).eval()
    batch = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(classifier(batch), network(torch.as_tensor(executed(str(code))(batch))), atol=1e-4)


def test_what_has_no_code_is_refused() -> None:
    """A name that is none here, and `pretrain` of random weights."""
    for setting in ("whiten", "pretrain"):
        with pytest.raises(UsageError, match="no code"):
            normalization_code(setting, images=3, channels=3, target=OWN[3], source=None)
