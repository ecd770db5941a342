"""Small folders of images, each with something in it that a look must find."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tracker.vision.images import Statistics
from tracker.vision.inspection.findings import Finding, Inspection

SIDE = 32
HALF = Statistics((0.5,) * 3, (0.25,) * 3)
"""Statistics of a source."""


def pixels(number: int, *, side: int = SIDE, height: int | None = None) -> np.ndarray:
    """Draw an image from its number: uint8, (H, W, 3), of no colour in particular."""
    generator = np.random.default_rng(number)
    return generator.integers(0, 256, (height or side, side, 3), dtype=np.uint8)


def photograph(number: int) -> np.ndarray:
    """Draw what a photograph's colours are like: a bluish sky above brown earth, redder than blue on the whole."""
    generator = np.random.default_rng(number)
    image = generator.normal(0, 30, (SIDE, SIDE, 1)) + np.array([130.0, 120.0, 85.0]) + generator.normal(0, 8, 3)
    image[: SIDE // 2] += np.array([-15.0, 15.0, 35.0])
    return np.clip(image, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, format_: str = "PNG", **options: object) -> bytes:
    """Return an image file."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format_, **options)
    return buffer.getvalue()


def png(width: int, height: int, rows: bytes, *, bits: int = 8, before: bytes = b"") -> bytes:
    """Return an RGB PNG file by hand, whatever its header claims.

    Args:
        rows: each a zero byte and its pixels.
        before: chunks between header and pixels.
    """
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    pieces = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + pieces


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def put(root: Path, name: str | bytes, content: bytes) -> Path:
    """Write a file below `root`, with the folders it needs."""
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + os.fsencode(name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_classes(
    root: Path, counts: dict[str, int], draw: Callable[[int], np.ndarray] = pixels, *, first: int = 0
) -> None:
    """Write `CLASS/N.png`, every image another one."""
    number = first
    for label, count in counts.items():
        for index in range(count):
            put(root, f"{label}/{index:03}.png", encoded(draw(number)))
            number += 1


def turned(image: np.ndarray, format_: str) -> bytes:
    """Return a file whose EXIF data says to turn it to the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, format_, exif=exif)


def write_odd_files(root: Path) -> None:
    """Write two classes with a file of every kind that is stored otherwise than it lies there."""
    write_classes(root, {"a": 30, "b": 30})
    gray = np.random.default_rng(5).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
    alpha = Image.fromarray(pixels(902)).convert("RGBA")
    alpha.putalpha(Image.fromarray(pixels(903)[..., 0]))
    frames = [Image.fromarray(pixels(905))]
    put(root, "a/twelve.png", encoded(gray))
    put(
        root,
        "a/sixteen.png",
        png(SIDE, SIDE, b"".join(b"\0" + pixels(n, side=SIDE * 2)[0].tobytes() for n in range(SIDE)), bits=16),
    )
    put(root, "a/clear.png", encoded(alpha))
    put(root, "a/opaque.png", encoded(Image.fromarray(pixels(901)).convert("RGBA")))
    put(root, "a/cmyk.jpg", encoded(Image.fromarray(pixels(904)).convert("CMYK"), "JPEG"))
    put(root, "a/palette.png", encoded(Image.fromarray(pixels(906)).quantize(16)))
    for format_, extension in (("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("MPO", "jpg")):
        first = Image.fromarray(pixels(907))
        put(root, f"a/frames-{format_}.{extension}", encoded(first, format_, save_all=True, append_images=frames))
    for format_, extension in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        put(root, f"b/turned-{format_}.{extension}", turned(pixels(910, side=48, height=16), format_))
    put(root, "b/profile.png", encoded(Image.fromarray(pixels(911)), icc_profile=b"a profile that names Display P3"))
    put(root, "b/srgb.png", encoded(Image.fromarray(pixels(912)), icc_profile=b"a profile that names sRGB"))
    put(root, "b/blank.png", encoded(np.full((SIDE, SIDE, 3), 7, np.uint8)))
    put(root, "b/large.png", encoded(pixels(913, side=300)))
    put(root, "b/deeper/inside.png", encoded(pixels(914)))


def write_unreadable(root: Path) -> dict[str, str]:
    """Write files that are no images into class a; return a piece of the reason each must get, by printable path."""
    text_bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3 << 20)))
    row = b"\0" + bytes(3 * SIDE)
    files: dict[str | bytes, tuple[bytes, str]] = {
        "a/empty.jpg": (b"", "is empty"),
        "a/text.png": (b"not a picture", "is no JPEG"),
        "a/cut.jpg": (encoded(pixels(1), "JPEG")[:700], "truncated"),
        "a/cut.png": (encoded(pixels(1))[:-1500], "truncated"),
        "a/bomb.png": (png(60_000, 60_000, b""), "pixels"),
        "a/wide.png": (png(10_000, 10_000, b""), "has 100,000,000 pixels"),
        "a/text-bomb.png": (png(SIDE, SIDE, row * SIDE, before=text_bomb), "too large"),
        "a/float.tif": (encoded(Image.fromarray(np.ones((SIDE, SIDE), np.float32)), "TIFF"), "floating-point"),
        "a/new\nline\x1b[2J.png": (b"x", "is no JPEG"),
        b"a/\xff.png": (b"x", "is no JPEG"),
        "a/postscript.png": (encoded(pixels(2), "EPS"), "is no JPEG"),
    }
    shown = {"a/new\nline\x1b[2J.png": r"a/new\nline\x1b[2J.png", b"a/\xff.png": r"a/\xff.png"}
    for name, (content, _) in files.items():
        put(root, name, content)
    (root / "a" / "dangling.png").symlink_to("nowhere.png")
    (root / "a" / "self.png").symlink_to("self.png")
    expected = {shown.get(name, str(name)): reason for name, (_, reason) in files.items()}
    return expected | {"a/dangling.png": "No such file", "a/self.png": "symbolic links"}


def found(inspection: Inspection, kind: str) -> Finding:
    """Return the one finding of a kind."""
    (finding,) = [finding for finding in inspection.findings if finding.kind == kind]
    return finding


def kinds(inspection: Inspection) -> set[str]:
    """Return the kinds of all findings."""
    return {finding.kind for finding in inspection.findings}
