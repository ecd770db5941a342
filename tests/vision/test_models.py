"""Models: torchvision's, with a head and an input of our own."""

from __future__ import annotations

import pytest
import torch
import torchvision

from tracker.study.errors import SourceError, UsageError
from tracker.vision.models import Classifier, build_network, load_backbone
from tracker.vision.normalizations import MinMax

REFERENCE = {"resnet18": 11_181_642, "resnet50": 23_528_522, "densenet121": 6_964_106, "densenet161": 26_494_090}
OTHERS = ["squeezenet1_1", "mobilenet_v3_small", "googlenet", "vgg11", "efficientnet_b0", "shufflenet_v2_x0_5"]


def bytes_like(channels: int, size: int = 64, count: int = 2) -> torch.Tensor:
    """Return random images, uint8, seed 0."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("model", REFERENCE)
def test_the_four_models_have_the_reference_studys_parameters(model: str) -> None:
    """With 10 classes each model has exactly the parameters counted for the reference study."""
    network, _ = build_network(model, channels=3, classes=10, seed=0)
    assert sum(parameter.numel() for parameter in network.parameters()) == REFERENCE[model]


@pytest.mark.parametrize("model", [*REFERENCE, *OTHERS])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_classifier_takes_one_or_three_channels_and_gives_k_logits(model: str, channels: int) -> None:
    """Head and stem are replaced whatever the network calls them."""
    network, head = build_network(model, channels=channels, classes=7, seed=0)
    classifier = Classifier(MinMax(), network, head, channels).eval()
    with torch.no_grad():
        assert classifier(bytes_like(channels)).shape == (2, 7)
    assert classifier.head is network.get_submodule(head)


def test_a_grayscale_image_is_repeated_for_a_network_of_three_channels() -> None:
    """One channel shown three times gives what the RGB image with equal channels gives."""
    network, head = build_network("resnet18", channels=3, classes=4, seed=0)
    classifier = Classifier(MinMax(), network, head, 3).eval()
    gray = bytes_like(1)
    with torch.no_grad():
        assert torch.equal(classifier(gray), classifier(gray.repeat(1, 3, 1, 1)))


def test_weights_are_seeded_and_the_head_does_not_depend_on_the_rest() -> None:
    """One seed, one network; the head is the same whatever the stem is, so cells stay paired."""
    one, head = build_network("resnet18", channels=3, classes=5, seed=1)
    torch.manual_seed(99)
    same, _ = build_network("resnet18", channels=3, classes=5, seed=1)
    other, _ = build_network("resnet18", channels=3, classes=5, seed=2)
    gray, _ = build_network("resnet18", channels=1, classes=5, seed=1)
    weight = f"{head}.weight"
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])
    assert torch.equal(one.state_dict()[weight], gray.state_dict()[weight])


def test_building_leaves_the_global_generator_alone() -> None:
    """A caller's own random numbers are not disturbed."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build_network("resnet18", channels=3, classes=5, seed=1)
    assert torch.equal(torch.rand(4), expected)


def test_an_unknown_model_is_refused_with_what_is_near() -> None:
    """`resnet81` is answered with models that exist."""
    with pytest.raises(UsageError, match="resnet18"):
        build_network("resnet81", channels=3, classes=2, seed=0)


def test_head_tuning_freezes_the_backbone_and_its_batch_norm() -> None:
    """With `tune: head` only the head learns, and running statistics do not move."""
    network, head = build_network("resnet18", channels=3, classes=4, seed=0)
    classifier = Classifier(MinMax(), network, head, 3)
    classifier.set_trainable("head")
    assert [name for name, p in classifier.named_parameters() if p.requires_grad] == [
        "network.fc.weight",
        "network.fc.bias",
    ]
    before = classifier.network.state_dict()["bn1.running_mean"].clone()
    classifier.train_mode("head")
    classifier(bytes_like(3))
    assert torch.equal(classifier.network.state_dict()["bn1.running_mean"], before)
    classifier.set_trainable("full")
    classifier.train_mode("full")
    classifier(bytes_like(3))
    assert not torch.equal(classifier.network.state_dict()["bn1.running_mean"], before)
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_head_and_batch_norm_tuning_trains_those_alone() -> None:
    """With `head+bn` BatchNorm's parameters and statistics move with the head; every convolution stays."""
    network, head = build_network("resnet18", channels=1, classes=3, seed=0)
    classifier = Classifier(MinMax(), network, head, 1)
    classifier.set_trainable("head+bn")
    classifier.train_mode("head+bn")
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    optimizer = torch.optim.SGD(list(classifier.trainable()), lr=0.1)
    classifier(bytes_like(1, size=32, count=4)).square().sum().backward()
    optimizer.step()
    moved = {name for name, tensor in classifier.state_dict().items() if not torch.equal(tensor, before[name])}
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"network.{name}.{kind}" for name in norms for kind in kinds} | {
        f"network.{head}.weight",
        f"network.{head}.bias",
    }


def test_a_network_without_batch_norm_has_none_to_tune() -> None:
    """It is refused by name, with what to do."""
    network, head = build_network("squeezenet1_1", channels=3, classes=3, seed=0)
    with pytest.raises(UsageError, match=r"SqueezeNet has no BatchNorm"):
        Classifier(MinMax(), network, head, 3).set_trainable("head+bn")


def test_a_backbone_is_copied_without_its_head() -> None:
    """Everything but the head comes from the source; step counters that old weights lack may be missing."""
    source = torchvision.models.resnet18(num_classes=1000)
    state = {name: tensor for name, tensor in source.state_dict().items() if "num_batches_tracked" not in name}
    network, head = build_network("resnet18", channels=3, classes=5, seed=1)
    own_head = network.state_dict()["fc.weight"].clone()
    load_backbone(network, head, state, "the test's source")
    assert torch.equal(network.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert torch.equal(network.state_dict()["fc.weight"], own_head)


def test_another_networks_weights_are_refused() -> None:
    """The error counts what does not fit and names the source."""
    state = torchvision.models.resnet34(num_classes=5).state_dict()
    network, head = build_network("resnet18", channels=3, classes=5, seed=1)
    with pytest.raises(SourceError, match=r"source 'x' does not fit .* too many"):
        load_backbone(network, head, state, "source 'x'")
