"""The reference study's way of training, kept small and faithful, to be measured against.

Images are PIL's, augmented one by one by torchvision in the processes of a DataLoader; the network runs
eagerly, contiguous, in what torch takes for fp32, and the host reads loss and accuracy after every step.

Source: github.com/TooTouch/Normalization-Test, with its misspelt comparison mended.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

from tracker.study.recipe import Recipe
from tracker.training.precision import set_tf32
from tracker.vision.images import Split, Statistics

WORKERS = 16
"""Loader processes of the reference study; a machine with fewer cores is given as many as it has."""


class PerImage:
    """The reference's `instance` setting: an image's own mean and sample standard deviation, by channel."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return float32, (C, H, W), from values in [0, 1]."""
        return (image - image.mean((1, 2), keepdim=True)) / image.std((1, 2), keepdim=True)


class PillowImages(Dataset[tuple[Tensor, int]]):
    """A split as the reference has it: an array of images, each made PIL's when it is asked for."""

    def __init__(self, split: Split, transform: Compose) -> None:
        self._images = np.ascontiguousarray(split.images.transpose(0, 2, 3, 1))  # (N, H, W, C), as datasets keep them
        self._labels = split.labels
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image, float32 (C, H, W), and its label."""
        pixels = self._images[index]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self._transform(image), int(self._labels[index])


def transform_of(recipe: Recipe, size: int, statistics: Statistics, train: bool) -> Compose:
    """Return the reference's transform of training or test images."""
    steps: list[object] = []
    if train and recipe.crop_padding:
        steps.append(RandomCrop(size, padding=recipe.crop_padding))
    if train and recipe.flip:
        steps.append(RandomHorizontalFlip())
    steps.append(ToTensor())
    match recipe.normalization:
        case "instance":
            steps.append(PerImage())
        case "minmax":
            pass
        case _:
            steps.append(Normalize(statistics.mean, statistics.std))
    return Compose(steps)


def loader_of(recipe: Recipe, split: Split, statistics: Statistics, workers: int, train: bool) -> DataLoader:  # type: ignore[type-arg]
    """Return the reference's loader; its workers live as long as it does, as they do over the reference's epochs."""
    images = PillowImages(split, transform_of(recipe, split.images.shape[2], statistics, train))
    return DataLoader(
        images,
        batch_size=recipe.batch_size,
        shuffle=train,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(recipe.seed),
    )


def train_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device
) -> tuple[float, float]:
    """Train on every batch as the reference does; return mean loss and accuracy, which it reads at each step."""
    network.train()
    loss_sum, correct, count = 0.0, 0, 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum().item())
        count += len(labels)
    return loss_sum / count, correct / count


def as_torch_comes() -> None:
    """Let CUDA compute as it does in a program that says nothing.

    Convolutions may use TF32, matrix products not, and cuDNN chooses kernels by its rules.
    """
    set_tf32(False)
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.fp32_precision = "tf32"
    torch.backends.cudnn.benchmark = False


@torch.no_grad()
def judge_epoch(
    network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device
) -> tuple[float, float]:
    """Judge every batch as the reference does; return mean loss and accuracy."""
    network.eval()
    loss_sum, correct, count = 0.0, 0, 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        logits = network(images)
        loss_sum += F.cross_entropy(logits, labels).item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum().item())
        count += len(labels)
    return loss_sum / count, correct / count
