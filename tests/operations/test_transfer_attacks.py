"""A bundle is input: what is truncated, altered, too new or hostile in it is refused by name, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.operations.bundle import DOCUMENTS, MANIFEST, open_bundle
from tracker.operations.importing_runs import check_bundle
from tracker.operations.packing import writing
from tracker.study.errors import TrackerError, UsageError
from tracker.study.study import content_id
from tracker.tracking.artifacts import digest
from tracker.tracking.transfer.records import MovedExperiment, MovedFile, MovedRun
from tracker.vision.progress import silent

NAME = "small"
RUN_ID = "0123456789abcdef" * 2
IDENTITY: dict[str, Any] = {"recipe": {"model": "resnet18"}}
DOCUMENT = {
    "name": NAME,
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain"], "seed": [1]},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle: one run with one file, one cell with a training state."""
    content = tmp_path / "content"
    content.write_bytes(b"the content of a file")
    target = tmp_path / "b"
    with writing(target) as writer:
        sha256, size = writer.keep(content)
        file = MovedFile(path="figures/curve.png", sha256=sha256, size=size)
        run = MovedRun(
            run_id=RUN_ID,
            name="a run",
            status="FINISHED",
            start_time=1,
            end_time=2,
            deleted=False,
            params={},
            tags={"tracker.attempt": "abc-1"},
            metrics={"best_acc": [(0, 1, 0.5)]},
            datasets=[],
            model_inputs=[],
            model_outputs=[],
            files=[file],
        )
        with writer.lines(NAME, "runs.jsonl") as add:
            add(run)
        experiment = MovedExperiment(name=NAME, experiment_id="1", deleted=False, tags={}, models=[], registered=[])
        writer.document(NAME, "experiment.json", experiment)
        cell = {"cell_id": content_id(IDENTITY), "name": "a cell", "identity": IDENTITY, "state": "WAITING", "token": 1,
                "trial_number": 0, "run_id": RUN_ID, "run_key": "abc-1"}  # fmt: skip
        ledger = {
            "schema": "0002",
            "optuna": "v3.2.0.a",
            "study": {"document": DOCUMENT},
            "cells": [cell],
            "trials": {},
        }
        writer.document(NAME, "ledger.json", ledger)
        state = file.model_copy(update={"path": "state-000001-000000-0123456789abcdef.safetensors"})
        writer.document(NAME, "states.json", {"abc-1": [state.model_dump()]})
        writer.end_study(NAME, 1, 1)
        writer.close("3.17.2", [])
    return target


def read(bundle: Path) -> None:
    """Read it all, as an import does before it writes."""
    check_bundle(open_bundle(bundle), silent)


def changed(bundle: Path, document: str, change: Callable[[Any], object]) -> None:
    """Change a document by someone who corrects the hashes afterwards."""
    path = bundle / "studies" / NAME / document
    content = json.loads(path.read_text())
    replaced = change(content)
    path.write_text(json.dumps(content if replaced is None else replaced) + "\n")
    correct(bundle, document)


def correct(bundle: Path, document: str) -> None:
    """Write a document's hash into the manifest."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["studies"][NAME]["documents"][document] = digest(bundle / "studies" / NAME / document)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def in_manifest(bundle: Path, change: Callable[[Any], object]) -> None:
    """Change the manifest."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_whole_bundle_is_read(bundle: Path) -> None:
    """Nothing below fails for another reason than the one it names."""
    read(bundle)
    assert {path.name for path in (bundle / "studies" / NAME).iterdir()} < set(DOCUMENTS)


@pytest.mark.parametrize(
    "path",
    ["../../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "", ".", "a\\..\\b", "a/\x00b", "a\nb", "x" * 300, "a/./b",
     "a/" * 600 + "b"],
)  # fmt: skip
def test_an_artifact_that_would_leave_its_folder_is_refused(bundle: Path, path: str) -> None:
    """An artifact's path is one below its run's folder, or the import does not begin."""
    changed(bundle, "runs.jsonl", lambda run: run["files"][0].update(path=path))
    with pytest.raises(TrackerError, match=r"runs\.jsonl, line 1: files\.0\.path: .* is no path of a file below"):
        read(bundle)


@pytest.mark.parametrize(
    ("document", "change", "words"),
    [
        ("runs.jsonl", lambda run: run.update(run_id="../x"), "line 1: run_id"),
        ("runs.jsonl", lambda run: run.update(status="DONE"), "line 1: status"),
        ("runs.jsonl", lambda run: run.update(start_time="now"), "line 1: start_time"),
        ("runs.jsonl", lambda run: run.update(more=1), "line 1: more"),
        ("runs.jsonl", lambda run: run["files"][0].update(sha256="../" * 21 + "x"), r"files\.0\.sha256"),
        ("runs.jsonl", lambda run: run["tags"].update({"tracker.attempt": "../../x"}), "cannot name a journal"),
        ("experiment.json", lambda it: it.update(name="another"), "is of 'another'"),
        ("experiment.json", lambda it: it.update(experiment_id="1/../2"), "experiment_id"),
        ("experiment.json", lambda it: [], "experiment.json"),
        ("states.json", lambda it: {"../../x": it["abc-1"]}, r"states\.json"),
        ("states.json", lambda it: it["abc-1"][0].update(path=".hidden"), "cannot name a training state"),
        ("states.json", lambda it: it["abc-1"][0].update(path="a/b"), "cannot name a training state"),
        ("ledger.json", lambda it: it["cells"][0].update(run_key="../../x"), "run_key"),
        ("ledger.json", lambda it: it["cells"][0].update(cell_id="0" * 12), "is not the hash of its identity"),
        ("ledger.json", lambda it: it["cells"][0].update(state="DONE"), "state"),
        ("ledger.json", lambda it: it["study"]["document"].update(name="../x"), "name"),
        ("ledger.json", lambda it: it["study"].update(document={"name": NAME}), "document"),
        ("ledger.json", lambda it: it.update(more={}), "more"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    bundle: Path, document: str, change: Callable[[Any], object], words: str
) -> None:
    """Ids, states, keys and names are what this program writes, or the message says which document and what."""
    changed(bundle, document, change)
    with pytest.raises(TrackerError, match=words) as error:
        read(bundle)
    assert document in str(error.value) and str(bundle) in str(error.value)


@pytest.mark.parametrize("document", ["runs.jsonl", "experiment.json", "ledger.json", "states.json"])
def test_a_truncated_document_is_refused(bundle: Path, document: str) -> None:
    """One byte less is noticed, whether the hash is right or not."""
    path = bundle / "studies" / NAME / document
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TrackerError, match=rf"{document}: is truncated or altered"):
        read(bundle)
    correct(bundle, document)
    with pytest.raises(TrackerError, match=document):
        read(bundle)
    path.unlink()
    with pytest.raises(TrackerError, match=rf"{document}: is missing"):
        read(bundle)


def test_a_damaged_content_is_refused(bundle: Path) -> None:
    """A content that is altered, truncated, missing or a link is named, with the file it is the content of."""
    (content,) = (path for path in (bundle / "files").rglob("*") if path.is_file())
    whole = content.read_bytes()
    for damaged in (whole[:-1], b"x" + whole[1:]):
        content.write_bytes(damaged)
        with pytest.raises(TrackerError, match=r"is truncated or altered; it is the content of figures/curve\.png"):
            read(bundle)
    content.unlink()
    with pytest.raises(TrackerError, match="is missing; it is the content of"):
        read(bundle)
    elsewhere = bundle.parent / "elsewhere"
    elsewhere.write_bytes(whole)
    content.symlink_to(elsewhere)
    with pytest.raises(TrackerError, match="is missing; it is the content of"):
        read(bundle)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-", "a b", "x" * 200, "..", "\u202eevil"])
def test_a_hostile_study_name_is_refused(bundle: Path, name: str) -> None:
    """A study's name is a folder's here, and an experiment's there: nothing but a name gets through."""
    in_manifest(bundle, lambda it: it["studies"].update({name: it["studies"].pop(NAME)}))
    with pytest.raises(TrackerError, match=r"manifest\.json|is missing"):
        read(bundle)


def test_another_document_is_not_read(bundle: Path) -> None:
    """The manifest cannot make the program read a file beside the bundle."""
    secret = bundle.parent / "secret"
    secret.write_text("{}")
    documents = {"../../../secret": digest(secret)}
    in_manifest(bundle, lambda it: it["studies"][NAME]["documents"].update(documents))
    with pytest.raises(TrackerError, match=r"names '\.\./\.\./\.\./secret', which no bundle has"):
        read(bundle)


def test_a_newer_bundle_is_refused(bundle: Path) -> None:
    """What a newer program wrote is not guessed at; the message says which format and who wrote it."""
    in_manifest(bundle, lambda it: it.update(format=2, program="norm-tracker 9.9", unheard={"of": 1}))
    with pytest.raises(UsageError, match=r"has format 2, this program reads up to 1; norm-tracker 9\.9 wrote it"):
        read(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"format": "1"}', '{"format": 1}', "\xff"])
def test_a_manifest_that_is_none_is_refused(bundle: Path, text: str) -> None:
    """No manifest, however deep or empty, ends in a traceback."""
    (bundle / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(TrackerError, match="manifest"):
        read(bundle)


def test_a_deep_document_is_refused(bundle: Path) -> None:
    """A document nested a hundred thousand deep is refused, not crashed on."""
    for document in ("ledger.json", "runs.jsonl", "states.json"):
        path = bundle / "studies" / NAME / document
        before = path.read_bytes()
        path.write_text("[" * 100_000 + "]" * 100_000)
        correct(bundle, document)
        with pytest.raises(TrackerError, match=document.replace(".", r"\.")):
            read(bundle)
        path.write_bytes(before)
        correct(bundle, document)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """The message says what was expected."""
    with pytest.raises(UsageError, match=r"is no bundle: it has no manifest\.json"):
        open_bundle(tmp_path)


def test_nothing_is_overwritten_and_nothing_half_is_left(bundle: Path) -> None:
    """A bundle gets its name when it is whole; a failure in between leaves no trace, and what is there stays."""
    before = sorted(path.name for path in bundle.parent.iterdir())
    with pytest.raises(UsageError, match="is there already"), writing(bundle):
        pass
    with pytest.raises(RuntimeError), writing(bundle.parent / "other") as writer:
        writer.document(NAME, "ledger.json", {})
        raise RuntimeError("interrupted by a test")
    assert sorted(path.name for path in bundle.parent.iterdir()) == before


def test_two_imports_of_a_bundle_take_turns(bundle: Path) -> None:
    """The second is told, instead of making twice what neither finds."""
    first, second = open_bundle(bundle), open_bundle(bundle)
    with first.alone(), pytest.raises(TrackerError, match="another process is importing"), second.alone():
        pass
    copy = bundle.parent / "copy"
    shutil.copytree(bundle, copy)
    (copy / MANIFEST).chmod(0o444)
    with open_bundle(copy).alone():
        pass
