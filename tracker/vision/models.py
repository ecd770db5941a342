"""Classifiers: a network of torchvision or of a package, with a fresh head, behind a normalization."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracker.study.errors import SourceError, UsageError
from tracker.study.extensions import Extension, find_extension, installed
from tracker.study.seeds import derive_seed
from tracker.vision.extensions import blamed, load_extension, wrong

AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Networks with extra training heads, built without them; the weights' names begin so."""


class Classifier(nn.Module):
    """A network that takes raw images.

    Args:
        normalization: uint8 (N, C, H, W) to float32 of that shape.
        network: float32 (N, C, H, W) to logits (N, K).
        head: name of the network's last layer.
        channels: C the network takes; one-channel images are repeated for a network of three.
    """

    def __init__(self, normalization: nn.Module, network: nn.Module, head: str, channels: int) -> None:
        super().__init__()
        self.normalization = normalization
        self.network = network
        self.head_name = head
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, K), of uint8 images, (N, 1 or C, H, W)."""
        logits: Tensor = self.network(self.normalized(images))
        return logits

    def normalized(self, images: Tensor) -> Tensor:
        """Return the network's input, float32 (N, C, H, W), of uint8 images, (N, 1 or C, H, W)."""
        if images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        inputs: Tensor = self.normalization(images)
        return inputs

    @property
    def head(self) -> nn.Module:
        """The last layer."""
        return self.network.get_submodule(self.head_name)

    def backbone_state(self) -> dict[str, Tensor]:
        """Return the network's tensors without the head's, by name."""
        return {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if not name.startswith(f"{self.head_name}.")
        }

    def set_trainable(self, tune: str) -> None:
        """Choose which parameters learn: all (`full`), the head's (`head`), or those and BatchNorm's (`head+bn`).

        Raises:
            UsageError: the network has no BatchNorm to tune.
        """
        self.network.requires_grad_(tune == "full")
        for module in self._tuned_apart(tune):
            module.requires_grad_(True)

    def train_mode(self, tune: str) -> None:
        """Enter training mode; what of the backbone does not learn stays as it is, its dropout off."""
        self.train(tune == "full")
        for module in self._tuned_apart(tune):
            module.train()

    def _tuned_apart(self, tune: str) -> list[nn.Module]:
        """Return the modules that learn whatever the rest of the backbone does."""
        if tune != "head+bn":
            return [self.head]
        norms = [module for module in self.network.modules() if isinstance(module, _BatchNorm)]
        if not norms:
            raise UsageError(f"{type(self.network).__name__} has no BatchNorm, which tune head+bn needs", "tune: head")
        return [self.head, *norms]

    def trainable(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that learn."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


def model_names() -> list[str]:
    """Return torchvision's classifiers."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def check_model(model: str) -> None:
    """See that a name means one model, without building or importing it.

    Raises:
        UsageError: neither torchvision nor an installed package has such a model; names what is near.
        TrackerError: two of them have it.
    """
    names = model_names()
    own = installed("tracker.models")
    if find_extension("tracker.models", model, built_in=model in names) is None and model not in names:
        near = ", ".join(difflib.get_close_matches(model, [*own, *names], n=3) or [*own, *names])
        packages = f"installed packages have {', '.join(own)}" if own else "no installed package has any"
        raise UsageError(
            f"there is no model {model!r}: torchvision has no such classifier; {packages}",
            f"accepted, among others: {near}",
        )


def without_weights(model: str) -> UsageError:
    """Return the error for torchvision's weights of a model that torchvision does not have."""
    if model in installed("tracker.models"):
        return UsageError(
            f"model {model!r} is of an installed package, so it has no torchvision weights",
            "pre-train it: a name in the study's `sources`, or `tracker pretrain`; or `source: random`",
        )
    return UsageError(f"torchvision has no classifier {model!r}")


def build_network(model: str, *, channels: int, classes: int, seed: int) -> tuple[nn.Module, str]:
    """Build a network of torchvision or of an installed package, with seeded weights and a seeded head.

    The head's draw does not depend on the model's other weights, so two cells that differ in
    normalization or source start with the same head.

    Args:
        channels: C of the input; other than torchvision's 3, the first convolution is replaced. A package's
            model is built with it.
        classes: K.
        seed: the recipe's.

    Returns:
        The network, and the name of its last layer.

    Raises:
        UsageError: there is no such model.
        TrackerError: two packages have it, or the one that has it does not build a network.
    """
    check_model(model)
    own = find_extension("tracker.models", model, built_in=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "backbone"))
        network = _torchvision_network(model, channels) if own is None else _own_network(own, channels)
        torch.manual_seed(derive_seed(seed, "head"))
        head = _replace_head(network, classes)
    return network, head


def _torchvision_network(model: str, channels: int) -> nn.Module:
    options = {"aux_logits": False, "init_weights": True} if model in AUXILIARY else {}
    network: nn.Module = torchvision.models.get_model(model, weights=None, **options)
    if channels != 3:
        _replace_stem(network, channels)
    return network


def _own_network(own: Extension, channels: int) -> nn.Module:
    """Call a package's builder, on the CPU: it may compute with its weights, which the meta device cannot."""
    builder = load_extension(own)
    with blamed(own, f"cannot be built with channels={channels}"), torch.device("cpu"):
        network = builder(channels=channels)
    if not isinstance(network, nn.Module):
        raise wrong(own, f"gives {type(network).__name__}, not a torch.nn.Module")
    if not any(isinstance(layer, nn.Linear | nn.Conv2d) for layer in network.modules()):
        raise wrong(own, "has no linear layer and no convolution, so there is no head to replace")
    return network.to(torch.get_default_device())


def load_backbone(network: nn.Module, head: str, state: Mapping[str, Tensor], what: str) -> None:
    """Copy a source's tensors into a network, the head excepted.

    Raises:
        SourceError: the tensors are another network's; names `what` and the first that does not fit.
    """
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(f"{head}.")}
    # Weights older than BatchNorm's step counter lack it; it is not read while momentum is set.
    missing = sorted(name for name in set(wanted) - set(state) if not name.endswith("num_batches_tracked"))
    extra = sorted(name for name in set(state) - set(wanted) if not name.startswith(f"{head}."))
    wrong = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if missing or extra or wrong:
        first = (missing or extra or wrong)[0]
        raise SourceError(
            f"{what} does not fit this network: {len(missing)} tensors missing, {len(extra)} too many, "
            f"{len(wrong)} of another shape (first: {first})",
            "use weights of the same model and number of input channels",
        )
    network.load_state_dict({name: state[name] for name in wanted if name in state}, strict=False)


def keep_range_of_weights(network: nn.Module) -> None:
    """Let a network that starts from torchvision's weights map its input as they want it.

    GoogLeNet's and Inception's are TensorFlow's, and want its range.
    """
    if hasattr(network, "transform_input"):
        network.transform_input = True  # type: ignore[assignment]


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Give the first convolution another number of input channels."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            stem = nn.Conv2d(
                channels,
                module.out_channels,
                kernel_size=module.kernel_size,  # type: ignore[arg-type]
                stride=module.stride,  # type: ignore[arg-type]
                padding=module.padding,  # type: ignore[arg-type]
                bias=module.bias is not None,
            )
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
            network.set_submodule(name, stem)
            return
    raise UsageError(f"{type(network).__name__} has no convolution to give {channels} input channels")


def _replace_head(network: nn.Module, classes: int) -> str:
    """Replace the last linear layer (the last convolution where there is none); return its name."""
    layers = dict(network.named_modules())
    for name in reversed(layers):
        old = layers[name]
        if isinstance(old, nn.Linear):
            network.set_submodule(name, nn.Linear(old.in_features, classes, bias=old.bias is not None))
            return str(name)
    for name in reversed(layers):
        old = layers[name]
        if isinstance(old, nn.Conv2d):
            network.set_submodule(name, nn.Conv2d(old.in_channels, classes, kernel_size=1))
            return str(name)
    raise UsageError(f"{type(network).__name__} has no last layer to replace")
