"""Images of any mode and size to bytes of one shape, by PIL.

What is done, in this order: EXIF rotation; transparency put on black, which is what padding is;
8 bits a channel, gray or RGB; with a size, the largest centred square, then bilinear with
antialiasing. Of an animation the first frame is taken. Colour profiles are not applied.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
"""What is decoded, whatever a file is called; PIL knows more, some of which start other programs."""

GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's tag for rotation, and its values that swap width and height."""
TIFF_WIDTH, TIFF_HEIGHT = 256, 257

LARGE_PIXELS = 1 << 23
"""Images beyond this are decoded one at a time: at PIL's limit of 89 million pixels one takes 0.4 GB, with
transparency 1.1 GB."""
_one_at_a_time = Lock()


def open_image(source: str | bytes) -> Image.Image:
    """Open an image; its pixels are not decoded yet.

    Raises:
        ValueError: more pixels than PIL's limit against decompression bombs; an empty file.
        OSError: not an image, or a format that is not accepted.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"has more than {limit:,} pixels") from error
    except UnidentifiedImageError:
        if isinstance(source, str) and not Path(source).stat().st_size:
            raise ValueError("is empty") from None
        raise
    if limit is not None and image.width * image.height > limit:  # PIL itself raises at twice its limit only
        image.close()
        raise ValueError(f"has {image.width * image.height:,} pixels, more than {limit:,}")
    return image


def size_and_gray(source: str | bytes) -> tuple[tuple[int, int], bool]:
    """Return (width, height) as seen, EXIF rotation applied, and whether it is grayscale; from the header alone.

    Raises:
        OSError, ValueError: as `open_image`.
    """
    with open_image(source) as image:
        return seen_size(image), image.mode in GRAY_MODES


def seen_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) of an opened image as it will be seen, EXIF rotation applied."""
    width, height = image.size
    # Only where it matters: a PNG is decoded in full to find its EXIF data.
    if width != height and is_sideways(image):
        if image.format == "TIFF":  # some versions of PIL swap them on opening, some do not
            width, height = image.tag_v2[TIFF_WIDTH], image.tag_v2[TIFF_HEIGHT]  # type: ignore[attr-defined]
        return height, width
    return width, height


def is_sideways(image: Image.Image) -> bool:
    """Say whether an opened image's EXIF data swaps width and height."""
    return image.getexif().get(ORIENTATION) in SIDEWAYS


def decode(source: str | bytes, channels: int, size: int | None) -> np.ndarray:
    """Decode an image.

    Args:
        channels: 1 or 3.
        size: pixels of the square to resize to; None leaves the size.

    Returns:
        uint8, (C, H, W).

    Raises:
        Exception: whatever PIL raises for a damaged file, which is nearly anything.
    """
    with open_image(source) as image, room_for(image):
        return fitted(upright(image), channels, size)


@contextmanager
def room_for(image: Image.Image) -> Iterator[None]:
    """Wait until no other large image is in memory, if this one is large."""
    if image.width * image.height <= LARGE_PIXELS:
        yield
        return
    with _one_at_a_time:
        yield


def upright(image: Image.Image) -> Image.Image:
    """Turn an opened image upright, as its EXIF data says, and make it 8 bits a channel on black.

    Raises:
        Exception: as `decode`.
    """
    ImageOps.exif_transpose(image, in_place=True)
    return _eight_bit(image)


def fit_array(image: np.ndarray, channels: int, size: int | None) -> np.ndarray:
    """Give an image in memory other channels or another size.

    Args:
        image: uint8, (C, H, W), C 1 or 3.
    """
    pixels = np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    return fitted(_eight_bit(Image.fromarray(pixels)), channels, size)


def fitted(image: Image.Image, channels: int, size: int | None) -> np.ndarray:
    """Give an image of 8 bits its channels and size.

    Args:
        channels, size: as `decode`.

    Returns:
        uint8, (C, H, W).
    """
    image = as_mode(image, "L" if channels == 1 else "RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        if image.width != image.height:
            image = image.crop((left, top, left + side, top + side))
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """Return the image itself where it has the mode, else a converted copy: large ones fill memory."""
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the image in a mode that `convert` takes to L or RGB without clipping or losing transparency."""
    if image.mode == "F":
        raise ValueError("has floating-point pixels, whose range nobody knows")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("has 32-bit pixels, whose range nobody knows")
        return Image.fromarray(np.rint(values * (255 / 65535)).astype(np.uint8))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, as_mode(image, "RGBA"))
    return image
