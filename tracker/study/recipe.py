"""The recipe: every key that decides what a trial does, with the reference study's values as defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tracker.study.extensions import NAME, installed
from tracker.study.shifts import AS_IS, parse_shift

NORMALIZATIONS: dict[str, str] = {
    "finetune": "z-score with the statistics of the dataset at hand",
    "pretrain": "z-score with the statistics the source was trained with",
    "instance": "z-score of every image by its own pixels",
    "minmax": "values in [0, 1], nothing else",
}
"""The built-in normalizations; `tracker.vision.normalizations` holds what each one does."""

DATASET_KINDS = ("cifar10", "cifar100", "svhn", "tiny-imagenet-200", "digits", "folder")
"""How an image set can be stored. Each but `folder` is also a dataset's name without further ado."""

SOURCE_WORDS = ("torchvision", "random")
"""Sources that need no `sources:` section: pre-trained torchvision weights, or none at all."""

Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What a network computes in while it is trained; `tracker.training.precision` does it."""


def normalization_names() -> list[str]:
    """Return the built-in normalizations and those of installed packages (group `tracker.normalizations`)."""
    return list(dict.fromkeys([*NORMALIZATIONS, *installed("tracker.normalizations")]))


def normalization_meaning(name: str) -> str:
    """Say in a clause what a normalization does."""
    return NORMALIZATIONS.get(name, "from an installed package")


def dataset_kinds() -> list[str]:
    """Return the built-in kinds of dataset and those of installed packages (group `tracker.datasets`)."""
    return list(dict.fromkeys([*DATASET_KINDS, *installed("tracker.datasets")]))


def dataset_names() -> list[str]:
    """Return the datasets that need no `datasets` section: each kind but `folder`."""
    return [kind for kind in dataset_kinds() if kind != "folder"]


class Frozen(BaseModel):
    """A typed, unchangeable piece of a study file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Name = Annotated[str, Field(pattern=NAME)]
"""Letters, digits, dot, dash, underscore: safe as a file name, a URL part and a column."""


class Recipe(Frozen):
    """All keys of a trial. What a study's `recipe` leaves out has the default below.

    The defaults are the reference protocol. They are part of every cell's identity and never
    change; new behaviour gets a new key.
    """

    model: Name = Field(
        description="a torchvision classifier: resnet18, resnet50, densenet121, densenet161, ...; or one of an "
        "installed package"
    )
    dataset: Name = Field(
        description="a built-in dataset, one of an installed package, or a name from the study's `datasets` section"
    )
    normalization: str = Field(
        description="how images become network input: " + ", ".join(NORMALIZATIONS) + "; or one of an installed package"
    )
    seed: int = Field(223, ge=0, lt=2**63, description="decides order, crops, flips, head and dropout")
    source: Name = Field(
        "torchvision",
        description="where the starting weights come from: `torchvision`, `random`, a name from the study's "
        "`sources` section, or one made by `tracker pretrain`",
    )
    weights: Name = Field("IMAGENET1K_V1", description="which torchvision weights, with `source: torchvision`")
    tune: Literal["full", "head", "head+bn"] = Field(
        "full",
        description="what learns: every parameter; the head alone on a frozen backbone (BatchNorm frozen too); or "
        "the head and BatchNorm, its scales, shifts and running statistics",
    )
    shift: str = Field(
        AS_IS,
        description="what a sensor did to the dataset's raw values, before everything else: `as-is`, or `gain=G`, "
        "`offset=O`, `invert`, `frame=N`, several joined by `+`",
    )
    statistics: Literal["exact", "published"] = Field(
        "exact", description="the dataset's channel statistics: computed from its training images, or as published"
    )
    epochs: int = Field(100, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(256, ge=1, le=65_536, description="images a step; the short last batch is kept")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="torch.optim's; sgd has momentum 0.9")
    lr: float = Field(0.001, gt=0, le=100, description="learning rate of the first epoch")
    weight_decay: float = Field(0.0, ge=0, le=10, description="as torch.optim's")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate by epoch; cosine ends at 0")
    precision: Precision = Field(
        "fp32",
        description="what convolutions and matrix products of training compute in: `fp32`; `tf32`, on GPUs that have "
        "it; or `bf16`, with weights, BatchNorm's statistics, the first and the last layer in fp32",
    )
    crop_padding: int = Field(
        4, ge=0, le=64, description="pixels of black padding before a random crop to the old size; 0: no crop"
    )
    flip: bool = Field(True, description="flip each training image left to right with probability 0.5")
    val_fraction: float = Field(
        0.0, ge=0, le=0.5, description="share of the training images held out, by class, to choose the epoch"
    )
    limit_train: int | None = Field(None, ge=1, description="use this many training images, drawn by class")
    limit_test: int | None = Field(None, ge=1, description="use this many test images, drawn by class")

    @field_validator("normalization")
    @classmethod
    def _known_normalization(cls, value: str) -> str:
        names = normalization_names()
        if value not in names:
            raise ValueError(f"is not a normalization; accepted: {', '.join(names)}")
        return value

    @field_validator("shift")
    @classmethod
    def _known_shift(cls, value: str) -> str:
        parse_shift(value)
        return value


RECIPE_KEYS = tuple(Recipe.model_fields)
PROTOCOL = 1
"""Raised when the program makes something else of a recipe than before, as after a mended bug: runs of different
protocols are not compared. New behaviour that a user chooses gets a new key instead."""
Scalar = str | int | float | bool | None


def non_default(model: BaseModel) -> dict[str, Any]:
    """Return the fields that differ from their defaults: what an identity is made of.

    Leaving defaults out lets a later version add a key without giving old cells a new identity.
    """
    return model.model_dump(mode="json", exclude_defaults=True)


class DatasetSpec(Frozen):
    """One entry of a study's `datasets` section."""

    kind: str = Field(
        description="how the images are stored: " + ", ".join(DATASET_KINDS) + "; or a kind of an installed package, "
        "which says which of the other keys it takes"
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="folder: where the images lie (`train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`), relative to "
        "the study file; not part of a cell's identity, since a folder may lie elsewhere on another machine",
    )
    classes: tuple[int | str, ...] | None = Field(
        None, min_length=2, description="digits: which of the ten, as numbers; folder: which class folders, by name"
    )
    image_size: int | None = Field(None, ge=8, le=1024, description="resize every image to this many pixels square")
    channels: Literal[1, 3] | None = Field(None, description="store grayscale (1) or RGB (3); else as the images are")
    test_fraction: float | None = Field(
        None, gt=0, lt=1, description="digits, or a folder without train/ and test/: share held out as test, by class"
    )
    split_seed: int = Field(0, ge=0, lt=2**63, description="decides that split")
    unreadable: Literal["refuse", "skip"] = Field(
        "refuse",
        description="folder: what becomes of files that cannot be decoded: an error that names them, or left out",
    )

    @field_validator("classes", mode="before")
    @classmethod
    def _tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        kinds = dataset_kinds()
        if value not in kinds:
            raise ValueError(f"is not a kind of dataset; accepted: {', '.join(kinds)}")
        return value

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> DatasetSpec:
        if self.unreadable == "skip" and self.kind != "folder":
            raise ValueError("`unreadable` goes with `kind: folder`")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("`classes` names a class twice")
        if self.kind not in DATASET_KINDS:
            return self  # which keys it takes, its package's reader tells: `tracker.vision.readers.installed`
        if (self.path is not None) != (self.kind == "folder"):
            raise ValueError("`path` goes with `kind: folder`, and among the built-in kinds only with it")
        if self.classes is not None:
            accepted = {"digits": int, "folder": str}.get(self.kind)
            if accepted is None:
                raise ValueError("`classes` goes with `kind: digits` or `folder`")
            if not all(isinstance(value, accepted) for value in self.classes):
                raise ValueError(f"`classes` takes {'digits, 0 to 9' if accepted is int else 'names of class folders'}")
            if accepted is int and not set(self.classes) <= set(range(10)):
                raise ValueError("`classes` takes digits, 0 to 9")
        if self.test_fraction is not None and self.kind not in ("digits", "folder"):
            raise ValueError("`test_fraction` goes with `kind: digits` or `folder`; the others have their own split")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the images, without where they lie."""
        return {key: value for key, value in non_default(self).items() if key != "path"}
