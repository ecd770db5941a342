"""Files that somebody else made: a study, a checkpoint, a state, weights, an export. None of them runs anything."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tests.training.small_trial import IDENTITY, Trial
from tracker.deploy.opening import open_path
from tracker.study.errors import DataDamaged, StudyError, TrackerError
from tracker.study.load import load_study
from tracker.study.plain import parse_json
from tracker.tracking.events import from_line
from tracker.tracking.writing import DOCUMENT, read_document
from tracker.training.statefile import STATE_FORMAT, Unusable, decode_state
from tracker.training.store import StateStore
from tracker.vision.checkpoint import load_classifier
from tracker.vision.images import Statistics
from tracker.vision.sources import WeightsFile, checkpoint_source, torchvision_source

DEEP = "[" * 100_000
FACTS: dict[str, Any] = {
    "model": "resnet18",
    "channels": 1,
    "image_size": 16,
    "classes": ["a", "b"],
    "normalization": "minmax",
    "target": {"mean": [0.5], "std": [0.2]},
    "source": None,
    "dataset": "d",
    "fingerprint": "f",
    "epoch": 0,
    "test_acc": 0.5,
    "recipe": {},
    "identity": "i",
}


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def pickles(folder: Path, mark: Path) -> list[Path]:
    """Write malicious pickles under every name that weights have: bare, and in torch's archive."""
    paths = []
    for suffix in (".safetensors", ".pt", ".pth", ".pkl"):
        bare, packed = folder / f"bare{suffix}", folder / f"packed{suffix}"
        bare.write_bytes(pickle.dumps(Exploit(mark)))
        torch.save({"weights": Exploit(mark)}, packed)
        paths += [bare, packed]
    return paths


def test_the_exploit_works(tmp_path: Path) -> None:
    """What the tests below refuse does run where it is unpickled."""
    mark = tmp_path / "owned"
    bare, packed = pickles(tmp_path, mark)[2:4]
    pickle.loads(bare.read_bytes())  # noqa: S301 (our own)
    assert mark.exists()
    mark.unlink()
    torch.load(packed, weights_only=False)
    assert mark.exists()


def test_no_pickle_is_a_checkpoint(tmp_path: Path) -> None:
    """Whatever its name, a pickle given as checkpoint, source, state or network is refused, and nothing of it runs."""
    mark = tmp_path / "owned"
    readers: list[Callable[[Path], object]] = [load_classifier, lambda path: checkpoint_source("s", path), open_path]
    refused = 0
    for path in pickles(tmp_path, mark):
        for read in readers:
            with pytest.raises(TrackerError):
                read(path)
            refused += 1
        with pytest.raises(Unusable):
            decode_state(path.read_bytes(), {})
    assert refused == 24 and not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_no_pickle_is_torchvisions(suffix: str, tmp_path: Path) -> None:
    """A file in --weights-dir whose name has the right digits of its hash is still read without running anything."""

    mark = tmp_path / "owned"
    torch.save({"conv1.weight": Exploit(mark)}, tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    path = tmp_path / f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    path.write_bytes(content)
    file = WeightsFile("resnet18 X", "https://x.invalid/x", path, 1.0, Statistics((0.5,), (0.2,)))
    with pytest.raises(DataDamaged, match="cannot be read as weights"):
        torchvision_source("resnet18", file)
    assert not mark.exists()


def test_no_pickle_is_a_state(tmp_path: Path) -> None:
    """A malicious file left where a cell's state lies, with its own hash in its name, is passed over."""

    mark = tmp_path / "owned"
    torch.save(Exploit(mark), tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    folder = tmp_path / "cell"
    folder.mkdir()
    for name in ("state-000001-000000-", "best-000001-"):
        (folder / f"{name}{hashlib.sha256(content).hexdigest()[:16]}.safetensors").write_bytes(content)
    trial = Trial()
    trial.train()
    loaded = trial.load(StateStore(folder, IDENTITY))
    assert loaded.state is None and len(loaded.problems) == 1 and not mark.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "../../x"),
        ("model", 5),
        ("model", "get_weight"),
        ("channels", 10**12),
        ("channels", 0),
        ("channels", "x"),
        ("classes", []),
        ("classes", "ab"),
        ("classes", [1, 2]),
        ("classes", {"a": 1}),
        ("target", 5),
        ("target", {"mean": ["x"], "std": [1]}),
        ("source", 5),
        ("recipe", 5),
        ("normalization", "__import__"),
        ("normalization", None),
        ("image_size", 10**9),
        ("image_size", "x"),
        ("epoch", "x"),
        ("identity", 5),
        ("more", 1),
        (None, DEEP),
        (None, '{"a":' * 100_000),
        (None, "[]"),
        (None, "null"),
        (None, "9" * 5_000),
        (None, "\x00"),
    ],
)
def test_a_checkpoint_that_lies(key: str | None, value: Any, tmp_path: Path) -> None:
    """Facts of a wrong kind or size, or nested without end, make it a damaged file, not a crash and no huge network."""
    facts = value if key is None else json.dumps({**FACTS, key: value})
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"format": "tracker checkpoint 1", "facts": facts})
    with pytest.raises(TrackerError):
        load_classifier(path)


@pytest.mark.parametrize(
    "header", [struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"{}x", b"", b"\xff" * 64, DEEP.encode()]
)
def test_a_header_that_lies(header: bytes, tmp_path: Path) -> None:
    """A header as long as memory, or none, is a damaged file."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(header)
    with pytest.raises(DataDamaged):
        load_classifier(path)


@pytest.mark.parametrize("facts", [DEEP, "null", "[]", '{"identity": {}, "best": 5}', "9" * 5_000])
def test_a_state_that_lies(facts: str) -> None:
    """A state that MLflow's store gave back is passed over with a reason, whatever it says."""
    with pytest.raises(Unusable):
        decode_state(save({"x": torch.zeros(1)}, metadata={"format": STATE_FORMAT, "facts": facts}), {})


def test_best_weights_have_a_name(tmp_path: Path) -> None:
    """A state cannot name a file outside its folder as its best weights."""
    trial = Trial()
    trial.train()
    folder = tmp_path / "cell"
    path = trial.save(StateStore(folder, IDENTITY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = load_file(path)
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]

    for best in ("../../x.safetensors", "/etc/passwd", 5, ["a"]):
        facts = json.dumps({**json.loads(metadata["facts"]), "best": best})
        data = save(tensors, metadata={**metadata, "facts": facts})
        path.unlink(missing_ok=True)
        path = folder / f"state-000009-000000-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"
        path.write_bytes(data)
        loaded = trial.load(StateStore(folder, IDENTITY))
        assert loaded.state is None and len(loaded.problems) == 1


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: [*a, *a]",
        "a: !!python/object/apply:os.system ['touch owned']",
        "a: !!python/name:os.system",
        "a: !!python/object/new:subprocess.Popen [['touch', 'owned']]",
        "!!python/module:os",
        "a: !include /etc/passwd",
        "a: " + "[" * 1_500,
        "{a: " * 1_500,
        "".join(" " * depth + "a:\n" for depth in range(600)),
        "seed: 1" + ":1" * 400_000,
        "seed: 1" + ":1" * 50_000 + ".5",
        "seed: 0x" + "f" * 100_000,
        "seed: 0b" + "1" * 100_000,
        "seed: " + "1" * 100_000,
        "name: ../../x",
        "name: x/y",
        'name: "x\\n"',
        "name: .x",
        'name: "x\\0"',
        'name: "x\\e[31m"',
        "recipe: {source: ../../x}",
        "recipe: {dataset: ../x}",
        "#" * ((1 << 20) + 1),
    ],
    ids=lambda text: text[:24],
)
def test_a_hostile_study(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of aliases, depth or digits, code, names that lead elsewhere: refused in a moment, by the file's name."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.yaml"
    axes = "axes: {normalization: [pretrain]}\n" if text.startswith(("seed", "name", "recipe", "a:")) else ""
    path.write_text(axes + text)
    begun = time.process_time()
    with pytest.raises(StudyError, match=r"hostile\.yaml"):
        load_study(str(path))
    assert time.process_time() - begun < 20 and list(tmp_path.iterdir()) == [path]


def test_deep_json_is_a_value_error() -> None:
    """JSON nested without end is refused like any that cannot be read, wherever it comes from."""
    for text in (DEEP, '{"a":' * 100_000, "9" * 5_000, b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        from_line(DEEP.encode())
    with pytest.raises(ValueError, match="nested too deeply"):
        read_document({f"{DOCUMENT}.chunks": "1", f"{DOCUMENT}.0": DEEP})
    with pytest.raises(ValueError, match="is missing"):
        read_document({f"{DOCUMENT}.chunks": "9" * 18, f"{DOCUMENT}.0": "["})
