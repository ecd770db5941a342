"""Read study files: safely, strictly, with errors that name file, key, value and what is accepted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tracker.study.errors import StudyError, UsageError
from tracker.study.recipe import DATASET_KINDS, RECIPE_KEYS, SOURCE_WORDS, DatasetSpec, Recipe, normalization_names
from tracker.study.study import Study

MAX_FILE_BYTES = 1 << 20
MAX_CELLS = 1_000_000
EXPERIMENTS = Path("experiments")
FLOAT_AS_TEXT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """Safe YAML without what surprises: no repeated keys, no anchors, no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, "anchors and aliases are not accepted", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                problem = f"the key {key!r} is not text; put it in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read one YAML document.

    Raises:
        StudyError: not readable, not YAML, larger than 1 MiB, or with repeated keys or anchors.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StudyError(str(path), "", "is larger than 1 MiB, which no study is")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(str(path), "", "is not UTF-8 text") from error
    except OSError as error:
        raise StudyError(str(path), "", f"cannot be read: {error.strerror}") from error
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506: a SafeLoader
    except RecursionError as error:
        raise StudyError(str(path), "", "is nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StudyError(str(path), "", f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise StudyError(str(path), "", f"is not YAML: {error}") from error


def find_study_file(name_or_path: str) -> Path:
    """Find `experiments/NAME.yaml` here or beside the package, or take a path as it is.

    Raises:
        UsageError: there is none; the message lists the studies there are.
    """
    folders = [EXPERIMENTS, Path(__file__).resolve().parents[2] / "experiments"]
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        raise UsageError(f"{path}: there is no such study file")
    for folder in folders:
        path = folder / f"{name_or_path}.yaml"
        if path.is_file():
            return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    near = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"there is no study {name_or_path!r}",
        f"{hint}studies here: {', '.join(known) or 'none'}; or give a path to a YAML file",
    )


def load_study(name_or_path: str, settings: Sequence[str] = (), axes: Sequence[str] = ()) -> Study:
    """Read a study and put overrides in.

    Args:
        name_or_path: `quickstart`, or a path to a YAML file.
        settings: `--set` values, as `recipe.epochs=5`.
        axes: `--axis` values, as `seed=1,2,3`.

    Raises:
        UsageError: no such study, or an override that cannot be read.
        StudyError: the file or an override says something that cannot be meant.
    """
    path = find_study_file(name_or_path)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise StudyError(str(path), "", "is not a mapping of keys to values", ", ".join(Study.model_fields))
    document.setdefault("name", path.stem)
    for entry in settings:
        _put_setting(document, entry)
    for entry in axes:
        _put_axis(document, entry)
    return parse_study(document, file=str(path), folder=path.parent)


def parse_study(document: Mapping[str, Any], file: str, folder: Path | None = None) -> Study:
    """Check a study's document and make it typed.

    Args:
        document: plain values, as YAML or JSON gives them.
        file: named in errors.
        folder: what relative `path`s of datasets start from; None leaves them as they are.

    Raises:
        StudyError: names file, key, value and what is accepted.
    """
    plain = dict(document)
    axes = plain.get("axes")
    recipe = plain.get("recipe") or {}
    _check_mapping(file, "axes", axes)
    _check_mapping(file, "recipe", recipe)
    assert isinstance(axes, dict)
    for key in [*recipe, *axes]:
        if key not in RECIPE_KEYS:
            section = "recipe" if key in recipe else "axes"
            raise StudyError(file, f"{section}.{key}", "is not a recipe key", _near(key, RECIPE_KEYS))
    clean_axes = {key: _axis_values(file, key, values) for key, values in axes.items()}
    for key in clean_axes:
        if key in recipe:
            raise StudyError(file, f"axes.{key}", "stands in the recipe too", "one of the two")
    plain.update(axes=clean_axes, recipe={k: _field(file, f"recipe.{k}", k, v) for k, v in recipe.items()})
    missing = [k for k, f in Recipe.model_fields.items() if f.is_required() and k not in recipe and k not in axes]
    if missing:
        raise StudyError(file, f"recipe.{missing[0]}", "is missing: give it in `recipe` or as an axis")
    if len(clean_axes) and (cells := _product(clean_axes)) > MAX_CELLS:
        raise StudyError(file, "axes", f"make {cells:,} cells", f"at most {MAX_CELLS:,}")
    plain["datasets"] = _datasets(file, plain.get("datasets") or {}, folder)
    try:
        study = Study(**plain)
    except ValidationError as error:
        raise _explain(file, "", error, Study, plain) from None
    _check_references(file, study)
    return study


def _product(axes: Mapping[str, Sequence[Any]]) -> int:
    cells = 1
    for values in axes.values():
        cells *= len(values)
    return cells


def _check_mapping(file: str, key: str, value: Any) -> None:
    if not isinstance(value, dict) or (key == "axes" and not value):
        found = "is missing" if value is None else f"is {value!r}"
        raise StudyError(file, key, found, f"a mapping of recipe keys ({', '.join(RECIPE_KEYS)})")


def _axis_values(file: str, key: str, values: Any) -> tuple[Any, ...]:
    where = f"axes.{key}"
    if not isinstance(values, (list, tuple)):
        raise StudyError(file, where, f"is {values!r}, not a list", f"[{values}]")
    if not values:
        raise StudyError(file, where, "is an empty list, which makes an empty grid", "at least one value")
    clean = [_field(file, f"{where}[{number}]", key, value) for number, value in enumerate(values)]
    for number, value in enumerate(clean):
        if value in clean[:number]:
            raise StudyError(file, f"{where}[{number}]", f"{value!r} stands twice", "each value once")
    return tuple(clean)


def _field(file: str, where: str, key: str, value: Any) -> Any:
    """Check one recipe key's value by itself and return it as its type has it (1 becomes 1.0 for a float)."""
    try:
        Recipe.__pydantic_validator__.validate_assignment(Recipe.model_construct(), key, value)
    except ValidationError as error:
        raise _explain(file, where, error, Recipe, {key: value}) from None
    is_float = Recipe.model_fields[key].annotation is float
    return float(value) if is_float else value


def _datasets(file: str, entries: Any, folder: Path | None) -> dict[str, Any]:
    _check_mapping(file, "datasets", entries)
    specs = {}
    for name, entry in entries.items():
        where = f"datasets.{name}"
        if name in DATASET_KINDS:
            raise StudyError(file, where, "is the name of a built-in dataset", "another name")
        if not isinstance(entry, dict):
            raise StudyError(file, where, f"is {entry!r}", f"a mapping of {', '.join(DatasetSpec.model_fields)}")
        try:
            spec = DatasetSpec(**entry)
        except ValidationError as error:
            raise _explain(file, where, error, DatasetSpec, entry) from None
        if spec.path is not None and folder is not None:
            spec = spec.model_copy(update={"path": str((folder / Path(spec.path).expanduser()).absolute())})
        specs[name] = spec
    return specs


def _check_references(file: str, study: Study) -> None:
    """Every dataset is known, every source's recipe is whole, and the baseline is on the grid."""
    known = [*(kind for kind in DATASET_KINDS if kind != "folder"), *study.datasets]
    for key, values in {**{k: (v,) for k, v in study.recipe.items()}, **study.axes}.items():
        if key == "dataset":
            for value in values:
                if value not in known:
                    raise StudyError(file, "dataset", f"{value!r} is not a dataset", _near(str(value), known))
    for name, keys in study.sources.items():
        where = f"sources.{name}"
        if name in SOURCE_WORDS:
            raise StudyError(file, where, "is a built-in source's name", "another name")
        for key in keys:
            if key not in RECIPE_KEYS or key in ("model", "source", "weights"):
                free = [k for k in RECIPE_KEYS if k not in ("model", "source", "weights")]
                raise StudyError(file, f"{where}.{key}", "is not a key of a source", _near(key, free))
        if keys.get("dataset") not in known:
            raise StudyError(file, f"{where}.dataset", f"{keys.get('dataset')!r} is not a dataset", ", ".join(known))
        for key, value in keys.items():
            _field(file, f"{where}.{key}", key, value)
    normalizations = study.axes.get("normalization", (study.recipe.get("normalization"),))
    if study.baseline not in normalizations:
        accepted = ", ".join(str(value) for value in normalizations)
        raise StudyError(file, "baseline", f"{study.baseline!r} is not a normalization of this study", accepted)


def _near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return (f"{close[0]}? All: " if close else "") + ", ".join(known)


def _explain(file: str, where: str, error: ValidationError, model: type[BaseModel], given: Any) -> StudyError:
    """Turn pydantic's first error into one sentence that names key, value and what is accepted."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
    key = where if where.endswith("]") or where.startswith("recipe.") else ".".join([*([where] if where else []), *path])
    value = first.get("input")
    field = model.model_fields.get(path[-1]) if path else None
    accepted = _accepted(field) if field else None
    if first["type"] == "extra_forbidden":
        return StudyError(file, key, "is not a key here", _near(path[-1], list(model.model_fields)))
    if first["type"] == "missing":
        return StudyError(file, key, "is missing", accepted)
    if isinstance(value, bool):
        read = "`yes`, `on` or `true`" if value else "`no`, `off` or `false`"
        return StudyError(file, key, f"is {str(value).lower()} (YAML reads {read} so); text needs quotes", accepted)
    if isinstance(value, str) and FLOAT_AS_TEXT.match(value):
        number = f"{float(value):.10f}".rstrip("0")
        return StudyError(file, key, f"{value!r} is text: YAML wants a dot in 1.0e-3", f"{number}")
    message = first["msg"].removeprefix("Value error, ")
    problem = message if first["type"] == "value_error" and not path else f"{value!r}: {message[0].lower()}{message[1:]}"
    return StudyError(file, key, problem, accepted)


def _accepted(field: FieldInfo) -> str:
    """Say what a key takes: its type's words, then its meaning."""
    kinds = get_args(field.annotation) or (field.annotation,)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    values = [words.get(kind, "") if isinstance(kind, type) else str(kind) for kind in kinds]
    return f"{' or '.join(filter(None, values))} ({field.description})"


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
        value = yaml.load(text, Loader=_Loader)  # noqa: S506: a SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"{option}: {text!r} cannot be read as a value") from error
    return value


def _put_setting(document: dict[str, Any], entry: str) -> None:
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
    place = document
    for part in parts[:-1]:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise UsageError(f"--set {entry}: {part!r} holds a single value")
    value = _scalar(text, "--set")
    if parts[-1] == "path" and isinstance(value, str):
        value = str(Path(value).expanduser().absolute())  # relative to where the command runs
    place[parts[-1]] = value


def _put_axis(document: dict[str, Any], entry: str) -> None:
    key, text = _split(entry, "--axis")
    key = key.removeprefix("axes.")
    if key not in RECIPE_KEYS:
        raise UsageError(f"--axis {entry}: {key!r} is not a recipe key", f"accepted: {_near(key, RECIPE_KEYS)}")
    values = [_scalar(part.strip(), "--axis") for part in text.split(",")]
    if not isinstance(document.get("axes"), dict):
        document["axes"] = {}
    document["axes"][key] = values
    if isinstance(document.get("recipe"), dict):
        document["recipe"].pop(key, None)
