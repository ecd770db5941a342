"""Equal images: found by the hash of their decoded pixels, judged by where they lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from tracker.study.printing import printable
from tracker.study.wording import counted
from tracker.vision.inspection.evidence import Evidence
from tracker.vision.inspection.findings import EXAMPLES, Duplicates, Finding, Kind, Severity


def duplicates_of(evidence: Evidence) -> tuple[Duplicates, ...]:
    """Group the images whose pixels are equal: those that leak first, then those that contradict, then the rest.

    Resized or re-encoded copies of a picture have other pixels, and are not found.
    """
    groups = defaultdict(list)
    for number, look in enumerate(evidence.looks):
        groups[look.digest].append(number)
    found = []
    for members in groups.values():
        if len(members) > 1:
            splits = {"test" if evidence.test[number] else "train" for number in members}
            labels = {printable(evidence.pictures[number].label) for number in members}
            paths = sorted(evidence.shown(evidence.pictures[number].path) for number in members)
            found.append(Duplicates(tuple(paths), tuple(sorted(splits, reverse=True)), tuple(sorted(labels))))
    return tuple(sorted(found, key=lambda group: (not group.leaks, not group.contradicts, group.paths)))


def duplicate_findings(groups: Sequence[Duplicates]) -> Iterator[Finding]:
    """Judge equal images; a group that leaks and contradicts is told of twice."""

    def told(
        kind: Kind, severity: Severity, chosen: Callable[[Duplicates], bool], sentence: str, cure: str
    ) -> Iterator[Finding]:
        found = [group for group in groups if chosen(group)]
        if found:
            examples = tuple(" = ".join(group.paths[:3]) for group in found[:EXAMPLES])
            yield Finding(kind, severity, f"{counted(len(found), 'picture')} {sentence}", cure, examples, len(found))

    yield from told(
        "duplicates-train-test",
        "warning",
        lambda group: group.leaks,
        "in train and in test, pixel by pixel: the network is tested on what it learned by heart",
        "remove the copies in the test split; in a folder without a split, remove all copies but one",
    )
    yield from told(
        "duplicates-two-labels",
        "warning",
        lambda group: group.contradicts,
        "with two labels, pixel by pixel: no network can get both right",
        "remove the copies in the wrong class",
    )
    yield from told(
        "duplicates",
        "note",
        lambda group: not group.leaks and not group.contradicts,
        "there more than once, with one label and in one split: it counts more than the others",
        "remove the copies",
    )
