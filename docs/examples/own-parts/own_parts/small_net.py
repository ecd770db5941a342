"""A model: three convolutions and a linear layer, some hundred times smaller than resnet18."""

from __future__ import annotations

from torch import Tensor, nn


class SmallNet(nn.Module):
    """A network for images of 8 x 8 pixels and more.

    The class itself is the entry point: it is called with `channels`, 1 or 3. How many classes there are
    is not its business; the tracker replaces its last linear layer by one that fits.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(channels, 16),
            nn.MaxPool2d(2),
            *_block(16, 32),
            nn.MaxPool2d(2),
            *_block(32, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)  # registered last, so this is the layer that is replaced

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K), of normalized images, float32 (N, C, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # BatchNorm, so that `tune: head+bn` has something to tune.
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
