"""Write docs/licences.md: every package that an installation brings, and under which licence.

Taken from the metadata of what is installed, so it is run where all extras are. A licence that is
not on the list below stops it: somebody must read it first, and say here what it means.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from textwrap import fill

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
RUNTIME = "runtime"
WORK = ("test", "dev")
"""Extras for work on the program itself: no user installs them, no image holds them."""

ALLOWED = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
        "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""SPDX identifiers that ask for no more than keeping the notice."""

UNUSUAL = {
    "LGPL-3.0-only": (
        "a library used as it comes, from its own files, so nothing of this program falls under it. An image with "
        "the extra `postgresql` holds psycopg: leave its licence in place and the library replaceable, as a Python "
        "package is"
    ),
    "MPL-2.0": (
        "copyleft for the package's own files alone, which are used unchanged. Who passes on an image must say where "
        "their source is: PyPI"
    ),
    "GPL-3.0-only": "a program that checks the Dockerfile; run as a program, for work on this one, never passed on",
    "LicenseRef-NVIDIA-Proprietary": (
        "NVIDIA's CUDA libraries, which the CUDA build of torch brings. They may be used free of charge; passing them "
        "on, as in an image, is subject to NVIDIA's CUDA EULA (its attachment A lists what may be passed on with a "
        "program). The CPU build of torch has none of them"
    ),
}
"""Licences that ask for more, each with what that means here."""

READ = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "huey": "MIT",
    "nvidia-cusparselt-cu13": "LicenseRef-NVIDIA-Proprietary",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "skops": "MIT",
    "torchvision": "BSD-3-Clause",
}
"""Packages whose metadata names no licence, or none that says which; read in their own files."""

WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "gpl-3.0": "GPL-3.0-only",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "2-clause bsd": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""What metadata says in place of an SPDX identifier."""


INTRODUCTION = """\
# Licences of what is installed

The program itself is under the [MIT licence](../LICENSE). An installation brings the packages below, each under its
own. `.venv/bin/python audit/licences.py` writes this page from the metadata of what is installed; a test sees that no
package is left out, and that none has a licence which nobody has read.

## What it means for you

- **You use the program, or results and networks made with it:** nothing follows; no licence here reaches what is
  computed. Pre-trained weights have terms of their own: ImageNet's images were collected for research, and whoever
  uses torchvision's weights must see whether those terms suit the purpose.
- **You pass on an image or an installation:** leave the packages' own licence files in it, where pip puts them. Beyond
  that:"""


@dataclass(frozen=True)
class Package:
    """One that an installation brings.

    Args:
        licence: an SPDX expression; "" where the metadata does not tell.
        sets: the extras that bring it, `runtime` where all do.
    """

    name: str
    licence: str
    sets: tuple[str, ...]

    @property
    def at_work_alone(self) -> bool:
        """Whether only work on the program brings it."""
        return all(name in WORK for name in self.sets)


def requirements() -> dict[str, list[Requirement]]:
    """Return what setup.cfg asks for: at runtime, and with each extra."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = {RUNTIME: config["options"]["install_requires"], **config["options.extras_require"]}
    lines = {name: (line.partition("#")[0].strip() for line in text.splitlines()) for name, text in texts.items()}
    return {name: [Requirement(line) for line in some if line] for name, some in lines.items()}


def closure(wanted: Iterable[Requirement]) -> tuple[dict[str, Distribution], set[str]]:
    """Follow requirements as far as what is installed tells.

    Returns:
        The packages by name, and the names of those that are not installed.
    """
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    ahead = list(_steps(wanted, ""))
    while ahead:
        name, extra = step = ahead.pop()
        if step in seen:
            continue
        seen.add(step)
        try:
            found[name] = _distribution(name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        ahead += _steps(_wants(name), extra)
    return found, missing


@cache
def _distribution(name: str) -> Distribution:
    return distribution(name)


@cache
def _wants(name: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, _distribution(name).requires or ()))


def _steps(wanted: Iterable[Requirement], extra: str) -> Iterator[tuple[str, str]]:
    for each in wanted:
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            name = canonicalize_name(each.name)
            yield name, ""
            yield from ((name, more) for more in each.extras)


def licence_of(name: str, package: Distribution) -> str:
    """Return a package's licence as an SPDX expression, "" where its metadata does not tell."""
    if name in READ:
        return READ[name]
    metadata = package.metadata
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    text = str(metadata["License"]).strip() if "License" in metadata else ""
    if text and not unlisted(text):
        return text
    kinds = [line.rpartition("::")[2].strip() for line in metadata.get_all("Classifier") or () if "License ::" in line]
    for words in (text, *kinds):
        if words.lower() in WORDS:
            return WORDS[words.lower()]
    return ""


def unlisted(expression: str) -> list[str]:
    """Return the parts of an SPDX expression that are on neither list; all of it where it is empty.

    Of parts joined by OR one that is listed is enough.
    """
    parts = [part.strip("() ") for part in re.split(r"\s+AND\s+", expression)]
    return [
        part
        for part in parts
        if not any(choice.strip("() ") in ALLOWED | UNUSUAL.keys() for choice in re.split(r"\s+OR\s+", part))
    ]


def packages() -> tuple[list[Package], set[str]]:
    """Return every package of the runtime and of each extra, and the names of those that are not installed."""
    sets: dict[str, list[str]] = {}
    licences: dict[str, str] = {}
    absent: set[str] = set()
    for name, wanted in requirements().items():
        found, missing = closure(wanted)
        absent |= missing
        for package, content in found.items():
            licences[package] = licence_of(package, content)
            sets.setdefault(package, []).append(name)
    return [
        Package(name, licences[name], (RUNTIME,) if RUNTIME in sets[name] else tuple(sets[name]))
        for name in sorted(licences)
    ], absent


def page(found: Iterable[Package]) -> str:
    """Return docs/licences.md."""
    known = list(found)
    used = {licence for package in known for licence in UNUSUAL if licence in package.licence}
    meanings = (f"{licence}: {meaning}." for licence, meaning in UNUSUAL.items() if licence in used)
    lines = [INTRODUCTION, *(fill(each, 118, initial_indent="  - ", subsequent_indent="    ") for each in meanings), ""]
    for title, some in (
        ("What users install", [package for package in known if not package.at_work_alone]),
        ("What only work on the program brings", [package for package in known if package.at_work_alone]),
    ):
        lines += [
            f"## {title}",
            "",
            f"{len(some)} packages.",
            "",
            "| package | licence | brought by |",
            "|---|---|---|",
        ]
        for package in some:
            mark = "**" if any(licence in package.licence for licence in UNUSUAL) else ""
            brought = ", ".join(name for name in package.sets if package.at_work_alone or name not in WORK)
            lines.append(f"| {package.name} | {mark}{package.licence}{mark} | {brought} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the page; 1 where a package is missing, or its licence must be read first."""
    found, missing = packages()
    wrong = [f"{name}: not installed; pip install -e '.[dev,ray]' first" for name in sorted(missing)]
    wrong += [
        f"{package.name}: licence {package.licence!r} is on no list: read it, then mend audit/licences.py"
        for package in found
        if unlisted(package.licence)
    ]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}: {len(found)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
