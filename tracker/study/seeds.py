"""Named seeds: every random draw derives from (seed, purpose, epoch), never from a running generator.

So a trial resumed after epoch e draws what it would have drawn undisturbed, and two cells that
differ only in normalization see the same order, crops, flips and head initialization.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Purpose = Literal["head", "backbone", "order", "crop", "flip", "dropout", "validation", "limit", "split", "bench"]


def derive_seed(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """Return a seed in [0, 2**63) that is independent for each (seed, purpose, epoch)."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
