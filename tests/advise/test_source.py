"""Which source a word names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.advise.material import MODEL, make_source
from tracker.advise.source import choose_source
from tracker.study.errors import SourceError, SourceMissing, UsageError
from tracker.study.home import Home
from tracker.vision.statistics import PUBLISHED


@pytest.fixture(autouse=True)
def _empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this machine's cache take part."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_a_model_means_torchvisions_weights(home: Home) -> None:
    """With the statistics they were trained with, and the command that gets the file where it is not here."""
    chosen = choose_source("resnet18", home)
    assert chosen.recipe == {"model": "resnet18", "source": "torchvision"}
    assert chosen.statistics == PUBLISHED["imagenet"]
    with pytest.raises(SourceMissing, match="weights resnet18 IMAGENET1K_V1 are not on this machine") as caught:
        chosen.require()
    assert "tracker data fetch --weights resnet18:IMAGENET1K_V1" in str(caught.value.cure)


def test_a_model_without_the_usual_weights_takes_the_first_there_are(home: Home) -> None:
    """Their name is then a key of the recipe."""
    assert choose_source("vit_h_14", home).recipe["weights"] == "IMAGENET1K_SWAG_E2E_V1"


def test_a_source_made_here_is_found_by_its_name(home: Home) -> None:
    """Its model is told by its checkpoint; of several models one must be named."""
    statistics = make_source(home, "small", channels=1)
    chosen = choose_source("small", home)
    assert (chosen.name, chosen.model, chosen.channels) == ("small", MODEL, 1)
    assert chosen.statistics == statistics
    assert chosen.identity["fingerprint"] == "0" * 12
    chosen.require()
    make_source(home, "small", model="squeezenet1_1")
    with pytest.raises(UsageError, match=f"small:{MODEL}, small:squeezenet1_1"):
        choose_source("small", home)
    assert choose_source("small:squeezenet1_1", home).model == "squeezenet1_1"


def test_two_of_one_name_and_model_are_not_guessed_between(home: Home) -> None:
    """As in a study."""
    make_source(home, "small")
    make_source(home, "small", identity="1" * 12)
    with pytest.raises(SourceError, match="there are 2 sources"):
        choose_source("small", home)


def test_random_weights_have_no_statistics(home: Home) -> None:
    """They take the images' channels."""
    chosen = choose_source("random:resnet18", home)
    assert (chosen.statistics, chosen.channels) == (None, None)


@pytest.mark.parametrize(
    "word", ["resnet81", "../../etc", "small:../x", "", ":", "random:nothing", "torchvision:no", "a b"]
)
def test_a_word_that_names_nothing_is_refused(word: str, home: Home) -> None:
    """With what there is; nothing is looked for outside the home."""
    with pytest.raises((UsageError, SourceMissing)) as caught:
        choose_source(word, home)
    assert caught.value.cure
