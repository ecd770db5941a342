"""Rules of what a report gathers: images, networks, times, circumstances, and the way from and to MLflow."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.prepared_store import with_store
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.reporting.channels import channels_of, dataset_facts
from tracker.compare.reporting.content import study_content
from tracker.compare.reporting.cost import costs_of, duration
from tracker.compare.reporting.dark import GROUND, dark, turned
from tracker.compare.reporting.models import model_facts
from tracker.compare.reporting.protocol import PLACE, definition, protocol_of
from tracker.compare.reporting.write import write_report
from tracker.figures.style import LOOKS
from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.attaching import attach_files
from tracker.tracking.files import read_files
from tracker.tracking.reading import read_study
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking
from tracker.vision.datasets import open_dataset

DIGITS = {
    "name": "digits-report",
    "question": "Which one?",
    "datasets": {
        "low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 16},
        "high": {"kind": "digits", "classes": [7, 8, 9], "image_size": 16},
    },
    "sources": {"low": {"dataset": "low", "epochs": 1}},
    "recipe": {"model": "resnet18", "dataset": "high", "source": "low", "epochs": 2},
    "axes": {"normalization": ["finetune", "pretrain", "instance", "minmax"], "seed": [1]},
}


@pytest.fixture(scope="module")
def digits() -> Study:
    """A study whose source is pre-trained on images of its own."""
    return parse_study(DIGITS, file="digits-report.yaml")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, digits: Study) -> Home:
    """A home with both datasets packed."""
    home = Home(tmp_path_factory.mktemp("packed") / "mlruns")
    for name in ("low", "high"):
        open_dataset(name, digits.dataset(name), home)
    return home


def test_channels_without_images(reference: Study) -> None:
    """Without images published statistics stand in, and give the reference study's Table 1, in RGB."""
    datasets = dataset_facts(reference, [], None)
    channels = channels_of(reference, datasets, None)
    assert len(channels) == 4 * 5
    assert {each.origin for each in channels} == {"published"}
    (tiny,) = (each for each in channels if (each.dataset, each.setting) == ("tiny-imagenet-200", "pretrain"))
    assert [round(value, 2) for value in (*tiny.mean, *tiny.std)] == [-0.02, -0.04, -0.04, 1.21, 1.20, 1.25]
    (own,) = (each for each in channels if (each.dataset, each.setting) == ("svhn", "finetune"))
    assert (own.mean, own.std) == ((0.0,) * 3, (1.0,) * 3)


def test_channels_of_packed_images(digits: Study, packed: Home) -> None:
    """From packed images the numbers are exact: pretrain sets one dataset's against the other's."""
    datasets = dataset_facts(digits, [], packed)
    channels = {each.setting: each for each in channels_of(digits, datasets, packed)}
    low, high = (open_dataset(name, digits.dataset(name), packed).statistics for name in ("low", "high"))
    assert list(channels) == ["", "finetune", "pretrain", "instance", "minmax"]
    assert (channels[""].mean, channels["minmax"].std) == (high.mean, high.std)
    assert (channels["finetune"].mean, channels["finetune"].std) == ((0.0,), (1.0,))
    assert channels["pretrain"].mean == pytest.approx([(high.mean[0] - low.mean[0]) / low.std[0]])
    assert channels["pretrain"].std == pytest.approx([high.std[0] / low.std[0]])
    assert {each.origin for each in channels.values()} == {"exact"}
    assert (datasets[0].classes, datasets[0].shape) == (3, (1, 16, 16))


def test_images_of_another_content_do_not_count(digits: Study, packed: Home, make_run: Any) -> None:
    """Where the runs were made with other images than those packed here, the latter say nothing."""
    tags = {"dataset.fingerprint": "0" * 16, "tracker.train_images": "100", "tracker.test_images": "50"}
    runs = [make_run(cell, 0.9, tags=tags) for cell in digits.cells]
    (facts,) = dataset_facts(digits, runs, packed)
    assert (facts.statistics, facts.classes, facts.fingerprints) == (None, None, ("0" * 16,))
    assert (facts.train, facts.test) == (100, 50)
    assert channels_of(digits, [facts], packed) == []


def test_parameters() -> None:
    """The counts are those that torchvision publishes; what it does not have is left out."""
    found = {each.model: each for each in model_facts(["resnet18", "densenet121", "nosuch"])}
    assert {model: each.parameters for model, each in found.items()} == {
        "resnet18": 11_689_512,
        "densenet121": 7_978_856,
    }
    for each in found.values():
        assert each.parameters - each.backbone == 1_000 * (each.features + 1)


def test_times_count_each_epoch_once(small: Study, make_run: Any) -> None:
    """A cell's time is the sum of its epochs, meant over seeds; a run's start and end are not looked at."""
    runs = [
        make_run(cell, 0.9, run_id=f"r{number}", end_time=10**9, tags={"device": "cpu" if number else "gpu"})
        for number, cell in enumerate(small.cells)
    ]
    board = build_leaderboard(small, runs)
    times = {f"r{number}": [(0, 10.0), (1, 20.0 + number)] for number in range(3)}
    (cost,) = costs_of(board, runs, times)
    assert (cost.row, cost.setting, cost.n) == (board.rows[0], "pretrain", 3)
    assert cost.seconds == 31.0
    assert cost.devices == ("cpu", "gpu")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1.0 min"), (5_399, "90.0 min"), (7_200, "2.0 h")]
)
def test_durations(seconds: float, text: str) -> None:
    """A time is told in the unit that people would use."""
    assert duration(seconds) == text


def test_protocol_counts_what_runs_say(small: Study, make_run: Any) -> None:
    """Versions and commits of all runs that count are there, the commonest first; a changed checkout is marked."""
    runs = [
        make_run(cell, 0.9, tags={"git.commit": "a" * 40 if number else "b" * 40, "git.dirty": "true"})
        for number, cell in enumerate(small.cells)
    ]
    stranger = make_run(small.cells[0], 0.9, cell_id="0" * 12, run_id="x", tags={"git.commit": "c" * 40})
    protocol = protocol_of(small, build_leaderboard(small, runs), [*runs, stranger])
    assert protocol.commits == (("a" * 12 + "+", 17), ("b" * 12 + "+", 1))
    assert (protocol.finished, protocol.seeds) == (18, (1, 2, 3))
    recipe = dict(protocol.recipe)
    assert (recipe["tune"], recipe["epochs"], recipe["flip"]) == ("full, head", "2", "yes")
    assert "limit_train" not in recipe


def test_the_definition_makes_the_same_cells() -> None:
    """What a report prints as the study's definition makes the same cells, and names no folder of this machine."""
    document = {
        **DIGITS,
        "datasets": {"low": DIGITS["datasets"]["low"], "high": {"kind": "folder", "path": "/home/me/images"}},  # type: ignore[index]
    }
    study = parse_study(document, file="test.yaml")
    told = definition(study)
    assert told["datasets"]["high"]["path"] == PLACE
    assert [cell.id for cell in parse_study(told, file="again.yaml").cells] == [cell.id for cell in study.cells]


def luminance(color: str) -> float:
    """Return WCAG's relative luminance."""
    values = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("setting", LOOKS)
def test_lines_are_seen_on_a_dark_page(setting: str) -> None:
    """A setting's colour keeps its hue on a dark page and stands out from the ground as WCAG asks: 3 to 1."""
    before, after = LOOKS[setting].color, turned(LOOKS[setting].color)
    assert (luminance(after) + 0.05) / (luminance(GROUND) + 0.05) > 3
    hues = [
        colorsys.rgb_to_hls(*(int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)))[0]
        for color in (before, after)
    ]
    assert abs((hues[0] - hues[1] + 0.5) % 1 - 0.5) < 0.06


def test_dark_figures() -> None:
    """Light and dark change places, white to the page's ground; text without a colour of its own is light."""
    assert turned("#ffffff") == turned("#FFFFFF") == GROUND
    assert luminance(turned("#222222")) > 0.7
    assert luminance(turned("#f0f0ee")) < 0.06
    text = dark(b'<svg id="x"><rect style="fill: #ffffff"/><text>#1 of 2</text></svg>').decode()
    assert (
        text
        == f'<svg id="x"><style>text{{fill:#e7e7ea}}</style><rect style="fill: {GROUND}"/><text>#1 of 2</text></svg>'
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, digits: Study) -> Home:
    """A home with a study of four cells, all of them finished, as a server's store has it."""
    home = with_store(Home(tmp_path_factory.mktemp("swept") / "mlruns"))
    uri = database_uri(home)
    MlflowClient(uri).create_experiment(digits.name, artifact_location="mlflow-artifacts:/1")
    tracking = StudyTracking(uri, home, digits)
    tracking.open()
    for number, cell in enumerate(digits.cells):
        run = tracking.cell_run(cell, f"{cell.id}-a1", {"tracker.test_images": "360", "device": "CPU"})
        for epoch in range(2):
            run.log_epoch(epoch, {"test_acc": 0.8 + 0.001 * number + 0.05 * epoch, "epoch_seconds": 2.0})
        run.log_metrics({"best_acc": 0.85 + 0.001 * number, "last_acc": 0.85})
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    return home


def test_from_mlflow_and_back(swept: Home, digits: Study, tmp_path: Path) -> None:
    """A report is made of what MLflow holds, and joins the study's finished run, of which nothing else changes."""
    uri = database_uri(swept)
    before = read_study(uri, digits.name)
    content = study_content(uri, swept, digits.name)
    assert {cost.seconds for cost in content.costs} == {4.0}
    assert [board.metric for board in (content.board, *content.others)] == ["best_acc", "last_acc"]
    assert content.history is not None
    assert content.history.curves["resnet18", "high"]["finetune"] == [[0.8, pytest.approx(0.85)]]
    files = write_report(content, tmp_path / "out")
    attach_files(uri, content.run_id, files, tmp_path / "out", "report")
    run = MlflowClient(uri).get_run(content.run_id)
    for file in files:
        stored = f"report/{file.relative_to(tmp_path / 'out').as_posix()}"
        found = read_files(uri, [(content.run_id, run.info.artifact_uri)], stored)
        assert found[content.run_id] == file.read_bytes()
    assert {path.stem for path in files if path.suffix == ".svg"} == {"forest", "history", "cost"}
    assert read_study(uri, digits.name) == before
    assert run.info.status == "FINISHED"


def test_a_store_that_refuses_is_an_error_of_tracking(swept: Home, digits: Study, tmp_path: Path) -> None:
    """What the artifact store raises becomes an error that names file and store."""
    uri = database_uri(swept)
    run_id = read_study(uri, digits.name).run_id
    place = swept.artifacts / "1" / run_id / "artifacts"
    place.mkdir(parents=True, exist_ok=True)
    (place / "taken").write_text("in the way")
    (tmp_path / "page.html").write_text("")
    with pytest.raises(TrackingError, match=r"does not take page\.html"):
        attach_files(uri, run_id, [tmp_path / "page.html"], tmp_path, "taken")
