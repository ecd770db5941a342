"""What the self-check has agreed with is kept, and asked again only where something else might be true."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.attempts import few_images, short_recipe
from tracker.study.recipe import Recipe
from tracker.training import selfcheck, verdicts
from tracker.training.execution import CUDA_GRAPH, PLAIN, Execution, usual_execution
from tracker.training.splits import DeviceSplit, trial_data
from tracker.training.trial import build_classifier
from tracker.training.verdicts import agreed_execution, has_agreed, question
from tracker.vision.kernels import library
from tracker.vision.models import Classifier
from tracker.vision.sources import random_source

CPU = torch.device("cpu")
WANTED = usual_execution(CPU)


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the executions that are really checked, in a cache folder of the test's own."""
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path / "cache"))
    seen: list[str] = []
    check = selfcheck.check_execution

    def watched(
        recipe: Recipe, classifier: Classifier, split: DeviceSplit, device: torch.device, execution: Execution
    ) -> str | None:
        seen.append(str(execution))
        return check(recipe, classifier, split, device, execution)

    monkeypatch.setattr(selfcheck, "check_execution", watched)
    return seen


def ask(recipe: Recipe, wanted: Execution = WANTED) -> tuple[Execution, dict[str, str] | None]:
    """Ask about a recipe's network on a few images; return the answer and the question."""
    images = few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, CPU).train
    return agreed_execution(recipe, classifier, train, CPU, wanted), question(recipe, classifier, train, wanted)


def test_what_has_been_agreed_is_not_asked_again(checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """But it is for another execution, another way of tuning, another program, and where the file is damaged."""
    recipe = short_recipe("squeezenet1_1")
    assert [ask(recipe)[0], ask(recipe)[0]] == [WANTED, WANTED]
    assert ask(recipe.model_copy(update={"normalization": "minmax", "seed": 9}))[0] == WANTED
    assert checks == [str(WANTED)]

    with_graphs = Execution(WANTED.names | {CUDA_GRAPH})
    assert (ask(recipe, with_graphs)[0], checks) == (WANTED, [str(WANTED)]), "what a CPU cannot have is no question"

    fewer = WANTED.without("channels_last")
    assert ask(recipe, fewer)[0] == fewer
    ask(recipe.model_copy(update={"tune": "head"}))
    monkeypatch.setattr(verdicts, "code_digest", lambda: "another program")
    ask(recipe)
    assert checks == [str(WANTED), str(fewer), str(WANTED), str(WANTED)]

    for file in (library.cache_folder() / verdicts.FOLDER).iterdir():
        file.write_text(file.read_text()[:-9])
    ask(recipe)
    ask(recipe)
    assert len(checks) == 5


def test_what_differs_is_looked_at_each_time(checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended driver is believed at once; and the plain path is never a question."""
    monkeypatch.setattr(selfcheck, "ALLOWED", dict.fromkeys(selfcheck.ALLOWED, -1.0))
    monkeypatch.setattr(selfcheck, "LEAST", dict.fromkeys(("input", "output", "gradients"), -1.0))
    recipe = short_recipe("squeezenet1_1")
    answer, asked = ask(recipe)
    assert (answer, has_agreed(asked)) == (PLAIN, False)
    assert ask(recipe)[0] == PLAIN
    assert ask(recipe, PLAIN)[0] == PLAIN
    assert len(checks) == 2


def test_a_network_of_an_installed_package_is_looked_at_each_time(
    checks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code may be another tomorrow under the same name."""
    monkeypatch.setattr(verdicts, "installed", lambda group: ["squeezenet1_1"])
    recipe = short_recipe("squeezenet1_1")
    assert [ask(recipe), ask(recipe)] == [(WANTED, None), (WANTED, None)]
    assert len(checks) == 2


def test_where_nothing_can_be_kept_it_is_asked_again(
    checks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the folder's place costs the check, not the trial."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path / "file"))
    without = WANTED.without("fused_input")  # whose kernel could not be kept either
    recipe = short_recipe("squeezenet1_1")
    assert [ask(recipe, without)[0], ask(recipe, without)[0]] == [without, without]
    assert len(checks) == 2


def test_what_computes_on_a_gpu_is_part_of_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mended or another driver, CUDA or cuDNN is another question; a driver that tells nothing is a word."""
    monkeypatch.setattr(verdicts, "DRIVER", tmp_path / "version")
    unknown = verdicts.gpu_libraries()
    assert unknown.startswith("a driver that is not told; CUDA ")
    seen = {unknown}
    for driver in ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82", "NVRM version: 590.1"):
        (tmp_path / "version").write_text(driver + "\nGCC version:  gcc version 13\n")
        seen.add(verdicts.gpu_libraries())
        assert verdicts.gpu_libraries() == unknown.replace("a driver that is not told", driver)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 1)
    seen.add(verdicts.gpu_libraries())
    assert len(seen) == 4
