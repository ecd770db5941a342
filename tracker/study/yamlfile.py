"""YAML read safely and strictly, with errors that name the file and the line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tracker.study.errors import StudyError

MAX_FILE_BYTES = 1 << 20
MAX_NUMBER = 100
"""Characters of a number. YAML 1.1 has base 60, `1:1:1:...`, of which 1 MiB takes minutes to compute."""
FLOAT_AS_TEXT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
"""What YAML 1.1 reads as text though it looks like a number: 1e-3 needs a dot."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without what surprises: no repeated keys, no anchors, no aliases, no dates."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, "anchors and aliases are not accepted", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_number(self, node: Any) -> Any:
        if len(node.value) > MAX_NUMBER:
            problem = f"a number of {len(node.value):,} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return self.construct_yaml_float(node) if node.tag.endswith(":float") else self.construct_yaml_int(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"the key {key!r} is not text; put it in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


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
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StudyError(str(path), "", f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise StudyError(str(path), "", f"cannot be read as YAML: {error}") from error


def parse_yaml(text: str) -> Any:
    """Parse one document or value. Raises: yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # what int() and the like raise inside PyYAML
        raise yaml.YAMLError(f"a value cannot be read ({error})") from error
