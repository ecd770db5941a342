"""What is wrong with a value of a study file, in one sentence that names key, value and what is accepted."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tracker.study.errors import StudyError
from tracker.study.recipe import dataset_kinds, normalization_names
from tracker.study.yamlfile import FLOAT_AS_TEXT


def near(word: str, known: Sequence[str]) -> str:
    """Return what is accepted in place of a word: what looks like it first, then all."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return (f"{close[0]}? All: " if close else "") + ", ".join(known)


def near_part(word: str, known: Sequence[str]) -> str:
    """As `near`, for a word that a package which is not installed here may know."""
    accepted = near(word, known)
    return accepted if "? All: " in accepted else f"{accepted}; or install the package that has it"


def explain(
    file: str, error: ValidationError, model: type[BaseModel], *, section: str = "", where: str | None = None
) -> StudyError:
    """Turn pydantic's first error into one sentence that names key, value and what is accepted.

    Args:
        section: where in the file `model` stands; pydantic tells the rest of the way.
        where: the whole way, for a value checked by itself.
    """
    first = error.errors(include_url=False)[0]
    path = [part for part in first["loc"] if not str(part).startswith("function-")]
    if len(path) > 2 and path[-1] in ("[key]", "str", "int", "float", "bool"):
        path.pop()  # which member of a union, or that it is about the key
    key = where or "".join([section, *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)])
    key = key.removeprefix(".")
    field = model.model_fields.get(str(path[0])) if path else None
    accepted = _accepted(field) if field else None
    kind, value = first["type"], first.get("input")
    if kind == "extra_forbidden":
        return StudyError(file, key, "is not a key here", near(str(path[-1]), list(model.model_fields)))
    if kind == "missing":
        return StudyError(file, key, "is missing", accepted)
    if kind == "string_pattern_mismatch":
        return StudyError(
            file, key, f"{value!r} is not a name", "letters, digits and . _ - after the first, 80 at most"
        )
    if isinstance(value, bool):
        read = "`yes`, `on` or `true`" if value else "`no`, `off` or `false`"
        return StudyError(file, key, f"is {str(value).lower()} (YAML reads {read} so); text needs quotes", accepted)
    if kind in ("int_type", "float_type") and isinstance(value, str) and FLOAT_AS_TEXT.match(value):
        problem = f"{value!r} is text: YAML wants a dot and a sign, as in 1.0e-3"
        return StudyError(file, key, problem, _number(float(value), whole=kind == "int_type"))
    if kind == "literal_error" and field is not None:
        return StudyError(file, key, f"is {value!r}", near(str(value), _options(field.annotation)))
    if kind == "value_error" and path == ["normalization"]:
        return StudyError(file, key, f"{value!r} is not a normalization", near_part(str(value), normalization_names()))
    if kind == "value_error" and path == ["kind"]:
        return StudyError(
            file, key, f"is {value!r}, which is not a kind of dataset", near_part(str(value), dataset_kinds())
        )
    message = first["msg"].removeprefix("Value error, ")
    problem = message if kind == "value_error" else f"{value!r}: {message[0].lower()}{message[1:]}"
    return StudyError(file, key, problem, accepted)


def _accepted(field: FieldInfo) -> str:
    """Say what a key takes: its type's words, then its meaning."""
    return f"{type_words(field.annotation)} ({field.description})"


def type_words(annotation: Any) -> str:
    """Say what a type takes, in the words of who writes a YAML file."""
    if get_origin(annotation) is Literal:
        return " or ".join(_options(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(type_words(kind) for kind in get_args(annotation))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return {**words, tuple: "a list", dict: "a mapping"}[get_origin(annotation) or annotation]


def _options(annotation: Any) -> list[str]:
    """Return the values of a Literal, or of the one in a union with null."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [option for kind in get_args(annotation) for option in _options(kind)]


def _number(number: float, whole: bool) -> str:
    """Write a number so that YAML reads it as one."""
    if whole and number.is_integer():
        return str(int(number))
    text = repr(number)
    return text if "." in text else text.replace("e", ".0e")
