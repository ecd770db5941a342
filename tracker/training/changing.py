"""Which tensors of a classifier training can change, listed once for as long as they are the same."""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from tracker.vision.models import Classifier


def changing(classifier: Classifier) -> dict[str, Tensor]:
    """Return the tensors of a classifier's state_dict that training can change: what learns, and all buffers.

    The others come from the source, so a head that is trained alone makes small files.
    """
    listing = _LISTINGS.get(classifier)
    if listing is None or not listing.holds():
        listing = _Listing(classifier)
        if listing.complete:
            _LISTINGS[classifier] = listing
    return dict(listing.tensors)


class _Listing:
    """The changing tensors of a classifier, and what would be otherwise if they were others.

    A state_dict is a walk of milliseconds; to look whether its tensors are still there takes a tenth of that.

    Attributes:
        tensors: detached, by their names in the state_dict.
        complete: whether all of them are tensors that its modules hold, so that `holds` can tell.
    """

    def __init__(self, classifier: Classifier) -> None:
        modules = list(classifier.modules())
        fixed = {name for name, weight in classifier.named_parameters() if not weight.requires_grad}
        found = {name: held for name, held in classifier.state_dict(keep_vars=True).items() if name not in fixed}
        self.tensors = {name: tensor.detach() for name, tensor in found.items()}
        self._places: list[dict[str, Any]] = []
        for module in modules:
            self._places += (module._parameters, module._buffers, module._modules)
        self._held = list(self._holding())
        # The classifier itself is in no module: a listing that held it would never be let go of.
        self._addresses = _addresses(self._held)
        known = {id(held) for held in self._held}
        self.complete = all(id(tensor) in known for tensor in found.values())

    def holds(self) -> bool:
        """Return whether a new listing would be the same."""
        now = list(self._holding())
        return len(now) == len(self._held) and all(map(is_, now, self._held)) and _addresses(now) == self._addresses

    def _holding(self) -> Iterable[Tensor | nn.Module | None]:
        for place in self._places:
            yield from place.values()


def _addresses(held: Iterable[Tensor | nn.Module | None]) -> list[tuple[int, bool]]:
    """Return where tensors lie, and whether they learn: what can change of one that stays the same object."""
    return [(one.data_ptr(), one.requires_grad) for one in held if isinstance(one, Tensor)]


_LISTINGS: WeakKeyDictionary[Classifier, _Listing] = WeakKeyDictionary()
