"""Read study files: safely, strictly, with errors that name file, key, value and what is accepted."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tracker.study.errors import StudyError, UsageError
from tracker.study.explaining import explain, near, near_part
from tracker.study.overrides import put_axis, put_setting
from tracker.study.recipe import (
    DATASET_KINDS,
    RECIPE_KEYS,
    SOURCE_WORDS,
    DatasetSpec,
    Recipe,
    Scalar,
    dataset_names,
)
from tracker.study.study import REPLICATE_AXIS, Study, first_by_configuration
from tracker.study.yamlfile import read_yaml

MAX_CELLS = 1_000_000
EXPERIMENTS = Path("experiments")

PLACEHOLDERS = {"model": "resnet18", "dataset": "digits", "normalization": "minmax"}
"""They complete a recipe, so that one key can be checked by itself."""

SOURCE_KEYS = [key for key in RECIPE_KEYS if key not in ("model", "source", "weights", "normalization")]
"""A source has its cell's model, random weights before, and its own statistics: what `pretrain` means."""


def is_study_path(name_or_path: str) -> bool:
    """Say whether this names a file, not a study by its name."""
    return name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path


def swept_name(name_or_path: str) -> str:
    """Return the name a study is swept under; of a path, what the file says.

    Raises:
        UsageError, StudyError: as `load_study`, for a path.
    """
    return load_study(name_or_path).name if is_study_path(name_or_path) else name_or_path


def find_study_file(name_or_path: str) -> Path:
    """Find `experiments/NAME.yaml` here or beside the package, or take a path as it is.

    Raises:
        UsageError: there is none; the message lists the studies there are.
    """
    folders = [EXPERIMENTS, Path(__file__).resolve().parents[2] / "experiments"]
    if is_study_path(name_or_path):
        path = Path(name_or_path).expanduser()
        if path.is_file():
            return path
        raise UsageError(f"{path}: there is no such study file")
    for folder in folders:
        path = folder / f"{name_or_path}.yaml"
        if path.is_file():
            return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    close = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
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
        put_setting(document, entry)
    for entry in axes:
        put_axis(document, entry)
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
    axes = _mapping(file, "axes", plain.get("axes"), RECIPE_KEYS)
    recipe = _mapping(file, "recipe", plain.get("recipe"), RECIPE_KEYS)
    if not axes:
        raise StudyError(file, "axes", "is missing or empty", "at least one recipe key, as in seed: [1, 2, 3]")
    for key in [*recipe, *axes]:
        if key not in RECIPE_KEYS:
            section = "recipe" if key in recipe else "axes"
            raise StudyError(file, f"{section}.{key}", "is not a recipe key", near(key, RECIPE_KEYS))
    clean_axes = {key: _values(file, f"axes.{key}", key, values) for key, values in axes.items()}
    for key in clean_axes:
        if key in recipe:
            raise StudyError(file, f"axes.{key}", "stands in the recipe too", "one of the two")
    plain.update(axes=clean_axes, recipe={k: _field(file, f"recipe.{k}", k, v) for k, v in recipe.items()})
    missing = [k for k, f in Recipe.model_fields.items() if f.is_required() and k not in recipe and k not in axes]
    if missing:
        raise StudyError(file, f"recipe.{missing[0]}", "is missing: give it in `recipe` or as an axis")
    more_seeds = _mapping(file, "more_seeds", plain.get("more_seeds"), ["names of configurations, each with seeds"])
    plain["more_seeds"] = {k: _values(file, f"more_seeds.{k}", REPLICATE_AXIS, v) for k, v in more_seeds.items()}
    cells = math.prod(map(len, clean_axes.values())) + sum(map(len, plain["more_seeds"].values()))
    if cells > MAX_CELLS:
        raise StudyError(file, "axes", f"make {cells:,} cells", f"at most {MAX_CELLS:,}")
    plain["datasets"] = _datasets(file, plain.get("datasets"), folder)
    plain["sources"] = _mapping(file, "sources", plain.get("sources"), ["names, each with recipe keys"])
    try:
        study = Study(**plain)
    except ValidationError as error:
        raise explain(file, error, Study) from None
    _check_references(file, study)
    _check_more_seeds(file, study)
    return study


def _mapping(file: str, key: str, value: Any, accepted: Iterable[str]) -> dict[str, Any]:
    """Return a section, empty where the file leaves it out or leaves it empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise StudyError(file, key, f"is {value!r}", f"a mapping of {', '.join(accepted)}")
    return value


def _values(file: str, where: str, key: str, values: Any) -> tuple[Any, ...]:
    """Check a list of values of one recipe key."""
    if not isinstance(values, (list, tuple)):
        raise StudyError(file, where, f"is {values!r}, not a list", f"[{values}]")
    if not values:
        raise StudyError(file, where, "is an empty list, which makes no cell", "at least one value")
    clean = [_field(file, f"{where}[{number}]", key, value) for number, value in enumerate(values)]
    seen = set()
    for number, value in enumerate(clean):
        if value in seen:
            raise StudyError(file, f"{where}[{number}]", f"{value!r} stands twice", "each value once")
        seen.add(value)
    return tuple(clean)


def _field(file: str, where: str, key: str, value: Any) -> Any:
    """Check one recipe key's value by itself and return it as its type has it (1 becomes 1.0 for a float)."""
    try:
        return getattr(Recipe(**{**PLACEHOLDERS, key: value}), key)
    except ValidationError as error:
        raise explain(file, error, Recipe, where=where) from None


def _datasets(file: str, section: Any, folder: Path | None) -> dict[str, Any]:
    specs = {}
    for name, entry in _mapping(file, "datasets", section, ["names, each with kind"]).items():
        where = f"datasets.{name}"
        if name in DATASET_KINDS:
            raise StudyError(file, where, "is the name of a built-in dataset", "another name")
        keys = _mapping(file, where, entry, DatasetSpec.model_fields)
        try:
            spec = DatasetSpec(**keys)
        except ValidationError as error:
            raise explain(file, error, DatasetSpec, section=where) from None
        if spec.path is not None and folder is not None:
            spec = spec.model_copy(update={"path": str((folder / Path(spec.path).expanduser()).absolute())})
        specs[name] = spec
    return specs


def _check_references(file: str, study: Study) -> None:
    """Every dataset is known, every source's recipe is whole, and the baseline is on the grid."""
    known = list(dict.fromkeys([*dataset_names(), *study.datasets]))
    for where, name in _values_of(study, "dataset").items():
        if name not in known:
            raise StudyError(file, where, f"{name!r} is not a dataset", near_part(str(name), known))
    for source, keys in study.sources.items():
        where = f"sources.{source}"
        if source in SOURCE_WORDS:
            raise StudyError(file, where, "is a built-in source's name", "another name")
        for key, value in keys.items():
            if key not in SOURCE_KEYS:
                raise StudyError(file, f"{where}.{key}", "is not a key of a source", near(key, SOURCE_KEYS))
            _field(file, f"{where}.{key}", key, value)
        if "dataset" not in keys:
            raise StudyError(file, f"{where}.dataset", "is missing", ", ".join(known))
        if keys["dataset"] not in known:
            problem = f"{keys['dataset']!r} is not a dataset"
            raise StudyError(file, f"{where}.dataset", problem, near_part(str(keys["dataset"]), known))
    normalizations = [str(value) for value in _values_of(study, "normalization").values()]
    if study.baseline not in normalizations:
        problem = f"{study.baseline!r} is not a normalization of this study"
        raise StudyError(file, "baseline", problem, near(study.baseline, normalizations))


def _check_more_seeds(file: str, study: Study) -> None:
    """Further seeds are of configurations that the grid has, and new to it."""
    if not study.more_seeds:
        return
    known = first_by_configuration(study.grid)
    there = study.axes.get(REPLICATE_AXIS) or (next(iter(known.values())).recipe.seed,)
    for name, seeds in study.more_seeds.items():
        where = f"more_seeds.{name}"
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or list(known)[:3]
            raise StudyError(file, where, "is not a configuration of the grid", f"names such as {', '.join(close)}")
        for number, seed in enumerate(seeds):
            if seed in there:
                raise StudyError(file, f"{where}[{number}]", f"{seed} is a seed of the grid", "further ones")


def _values_of(study: Study, key: str) -> dict[str, Scalar]:
    """Return the values a recipe key takes in a study, by where they stand in the file."""
    if key in study.axes:
        return {f"axes.{key}[{number}]": value for number, value in enumerate(study.axes[key])}
    return {f"recipe.{key}": study.recipe[key]}
