"""One image, looked at: what its file says, what its pixels are, and what the reader makes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tracker.vision.readers.pixels import (
    GRAY_MODES,
    ORIENTATION,
    as_mode,
    fitted,
    open_image,
    room_for,
    seen_size,
    upright,
)

DIGEST_BYTES = 16
"""128 bits: among a million images two different ones share a digest with a chance of 1e-27."""

SRGB = (b"sRGB", "sRGB".encode("utf-16-be"))
"""How a colour profile calls itself sRGB, which images without one are taken for."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one image is.

    Args:
        format, mode: PIL's names, as `JPEG` and `RGB`.
        size: (width, height) as seen.
        digest: of the decoded pixels at full size, upright, gray where all channels are equal: equal pictures have
            equal digests, whatever their format.
        gray_file: stored as gray.
        gray: all channels equal, however stored.
        turned: the EXIF data asks for a rotation or a mirror image.
        animated: more than one frame or page.
        sixteen: 16 bits a channel.
        bits: of those of a gray image, how many its brightest pixel needs; 0 where nothing is known.
        clear: share of the pixels that are not opaque.
        profile: a colour profile that does not call itself sRGB.
        totals, squares: sums of the stored bytes and of their squares, (C,), exact.
        flat: the stored image has one colour.
        tilt: of the stored image, in [-2, 2]: blue minus red in the upper half, less the same in the lower; 0 for gray.
    """

    format: str
    mode: str
    size: tuple[int, int]
    digest: bytes
    gray_file: bool
    gray: bool
    turned: bool
    animated: bool
    sixteen: bool
    bits: int
    clear: float
    profile: bool
    totals: tuple[int, ...]
    squares: tuple[int, ...]
    flat: bool
    tilt: float


def look_at(path: str, channels: int, image_size: int | None) -> Look:
    """Decode an image once, and say what it is and what the reader will store.

    Args:
        channels, image_size: as the reader will be asked for.

    Raises:
        Exception: as `tracker.vision.readers.pixels.decode`.
    """
    with open_image(path) as image, room_for(image):
        format_, mode, size = image.format or "", image.mode, seen_size(image)
        animated = bool(getattr(image, "is_animated", False))
        sixteen = _is_sixteen(image)
        turned = image.getexif().get(ORIENTATION, 1) not in (0, 1)  # before the pixels: then a TIFF is turned already
        image.load()
        bits = int(np.asarray(image).max()).bit_length() if mode.startswith("I") else 0
        clear = _clear_share(image) if image.has_transparency_data else 0.0
        profile = mode in ("RGB", "RGBA") and _has_other_profile(image.info.get("icc_profile"))
        seen = upright(image)
        seen = as_mode(seen, "L" if seen.mode in GRAY_MODES else "RGB")
        pixels = np.asarray(seen)  # (H, W) or (H, W, 3)
        gray = pixels.ndim == 2 or all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in (1, 2))
        stored = fitted(seen, channels, image_size)
        values = stored.reshape(channels, -1)  # (C, H * W)
        return Look(
            format=format_,
            mode=mode,
            size=size,
            digest=_digest(pixels if pixels.ndim == 2 or not gray else pixels[..., 0]),
            gray_file=mode in GRAY_MODES,
            gray=gray,
            turned=turned,
            animated=animated,
            sixteen=sixteen,
            bits=bits,
            clear=clear,
            profile=profile,
            totals=tuple(values.sum(axis=1, dtype=np.int64).tolist()),
            squares=tuple(np.square(values, dtype=np.uint16).sum(axis=1, dtype=np.int64).tolist()),
            flat=bool((values == values[:, :1]).all()),
            tilt=_tilt(stored),
        )


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _is_sixteen(image: Image.Image) -> bool:
    """Say whether an opened image has 16 bits a channel: of RGB, only what is about to be decoded tells."""
    if image.mode.startswith("I"):
        return True
    tiles = getattr(image, "tile", None) or []
    arguments = [tile[3] for tile in tiles[:1]]
    raw_modes = [each[0] if isinstance(each, tuple) and each else each for each in arguments]
    return any(isinstance(raw_mode, str) and ";16" in raw_mode for raw_mode in raw_modes)


def _clear_share(image: Image.Image) -> float:
    alpha = (image if image.mode in ("LA", "PA", "RGBA") else image.convert("RGBA")).getchannel("A")
    return sum(alpha.histogram()[:255]) / (image.width * image.height)


def _has_other_profile(profile: bytes | None) -> bool:
    return bool(profile) and not any(name in profile for name in SRGB)  # type: ignore[operator]


def _tilt(stored: np.ndarray) -> float:
    if len(stored) == 1:
        return 0.0
    difference = stored[2].astype(np.int16) - stored[0]  # (H, W)
    middle = len(difference) // 2
    return float(difference[:middle].mean() - difference[middle:].mean()) / 255
