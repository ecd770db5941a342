"""Images of any mode and size to bytes of one shape, by PIL.

What is done, in this order: EXIF rotation; transparency put on black, which is what padding is;
8 bits a channel, gray or RGB; with a size, the largest centred square, then bilinear with
antialiasing. Of an animation the first frame is taken.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
"""What is decoded, whatever a file is called; PIL knows more, some of which start other programs."""

GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""EXIF's tag for rotation, and its values that swap width and height."""


def open_image(source: str | bytes) -> Image.Image:
    """Open an image; its pixels are not decoded yet.

    Raises:
        ValueError: more pixels than PIL's limit against decompression bombs.
        OSError: not an image, or a format that is not accepted.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"has more than {limit:,} pixels") from error
    if limit is not None and image.width * image.height > limit:  # PIL itself raises at twice its limit only
        raise ValueError(f"has {image.width * image.height:,} pixels, more than {limit:,}")
    return image


def size_and_gray(source: str | bytes) -> tuple[tuple[int, int], bool]:
    """Return (width, height) as seen, EXIF rotation applied, and whether it is grayscale; from the header alone.

    Raises:
        OSError, ValueError: as `open_image`.
    """
    with open_image(source) as image:
        width, height = image.size
        # Only where it matters: a PNG is decoded in full to find its EXIF data.
        if width != height and image.getexif().get(ORIENTATION) in SIDEWAYS:
            width, height = height, width
        return (width, height), image.mode in GRAY_MODES


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
    with open_image(source) as image:
        return _to_array(ImageOps.exif_transpose(image), channels, size)


def fit_array(image: np.ndarray, channels: int, size: int | None) -> np.ndarray:
    """Give an image in memory other channels or another size.

    Args:
        image: uint8, (C, H, W), C 1 or 3.
    """
    pixels = np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    return _to_array(Image.fromarray(pixels), channels, size)


def _to_array(image: Image.Image, channels: int, size: int | None) -> np.ndarray:
    image = _eight_bit(image).convert("L" if channels == 1 else "RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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
        return Image.alpha_composite(black, image.convert("RGBA"))
    return image
