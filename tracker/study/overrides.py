"""What the command line changes in a study's document: `--set` and `--axis`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tracker.study.errors import UsageError
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study
from tracker.study.yamlfile import FLOAT_AS_TEXT, parse_yaml

EVERY = "*"
"""`--set datasets.*.path=FOLDER` sets the key in every entry."""


def put_setting(document: dict[str, Any], entry: str) -> None:
    """Put one `--set KEY=VALUE` into a document.

    Raises:
        UsageError: it cannot be read, or names what cannot be set.
    """
    key, text = _split(entry, "--set")
    parts = key.split(".")
    if len(parts) == 1 and parts[0] in RECIPE_KEYS:
        parts = ["recipe", *parts]
    if parts[0] not in Study.model_fields or parts[0] == "axes":
        accepted = "--axis KEY=VALUES" if parts[0] == "axes" else "recipe.KEY, datasets.NAME.KEY, sources.NAME.KEY"
        raise UsageError(f"--set {entry}: {key!r} cannot be set", f"accepted: {accepted}")
    axes = document.get("axes")
    if parts[0] == "recipe" and len(parts) == 2 and isinstance(axes, dict) and parts[1] in axes:
        raise UsageError(f"--set {entry}: {parts[1]} is an axis of this study", f"use --axis {parts[1]}={text}")
    places = [document]
    for part in parts[:-1]:
        places = [inner for place in places for inner in _inside(place, part)]
        if not all(isinstance(place, dict) for place in places):
            raise UsageError(f"--set {entry}: {part!r} holds a single value")
        if not places:
            raise UsageError(f"--set {entry}: this study has no {key.partition('.')[0]} to set it in")
    value = _scalar(text, "--set")
    if parts[-1] == "path" and isinstance(value, str):
        value = str(Path(value).expanduser().absolute())  # relative to where the command runs
    for place in places:
        place[parts[-1]] = value


def _inside(place: dict[str, Any], part: str) -> list[Any]:
    if part == EVERY:
        return list(place.values())
    if place.get(part) is None:  # left out, or left empty
        place[part] = {}
    return [place[part]]


def put_axis(document: dict[str, Any], entry: str) -> None:
    """Put one `--axis KEY=VALUE,VALUE` into a document, in place of the key's single value if it had one.

    Raises:
        UsageError: it cannot be read, or is not a recipe key.
    """
    key, text = _split(entry, "--axis")
    key = key.removeprefix("axes.")
    if key not in RECIPE_KEYS:
        raise UsageError(f"--axis {entry}: {key!r} is not a recipe key", f"accepted: {', '.join(RECIPE_KEYS)}")
    values = [_scalar(part.strip(), "--axis") for part in text.split(",")]
    if not isinstance(document.get("axes"), dict):
        document["axes"] = {}
    document["axes"][key] = values
    if isinstance(document.get("recipe"), dict):
        document["recipe"].pop(key, None)


def _split(entry: str, option: str) -> tuple[str, str]:
    key, equals, text = entry.partition("=")
    if not equals or not key.strip() or not text.strip():
        example = "--set recipe.epochs=5" if option == "--set" else "--axis seed=1,2,3"
        raise UsageError(f"{option} {entry!r} is not KEY=VALUE", f"as in {example}")
    return key.strip(), text.strip()


def _scalar(text: str, option: str) -> Any:
    """Read one value of the command line: YAML's rules, with 1e-3 as the number it is."""
    if FLOAT_AS_TEXT.match(text):
        return float(text)
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{option}: {text!r} cannot be read as a value") from error
    return value
