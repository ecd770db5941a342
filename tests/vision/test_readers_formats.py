"""An image file of any format gives the pixels a viewer shows, and one that could do harm is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.vision.reading import folder
from tracker.study.errors import DataError
from tracker.vision.readers.pixels import decode, open_image


def save(path: Path, image: Image.Image, **options: object) -> str:
    """Save an image and return its path as text."""
    image.save(path, **options)  # type: ignore[arg-type]
    return str(path)


GRADIENT = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.mark.parametrize("name", ["i.png", "i.bmp", "i.gif", "i.tif", "i.webp", "i.TIFF"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, name: str) -> None:
    """Palette and RGB images come out as they look."""
    image = Image.fromarray(np.stack([GRADIENT, GRADIENT[::-1], GRADIENT.T], axis=-1))
    options: dict[str, object] = {"lossless": True} if name.endswith("webp") else {}
    if name.endswith("gif"):
        image = image.quantize(64)
    found = decode(save(tmp_path / name, image, **options), 3, None)
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    """A 16-bit image spans the whole byte range, as 65535 becomes 255."""
    wide = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    for name in ("wide.png", "wide.tif"):
        found = decode(save(tmp_path / name, Image.fromarray(wide)), 1, None)[0]
        assert found.min() == 0 and found.max() == 255
        assert np.abs(found - wide / 257).max() <= 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, dtype: type[np.generic]) -> None:
    """Floating-point and 32-bit images have no known white."""
    image = Image.fromarray((GRADIENT.astype(np.int64) * 1000).astype(dtype))
    with pytest.raises(ValueError, match="whose range nobody knows"):
        decode(save(tmp_path / "odd.tif", image), 1, None)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_put_on_black(tmp_path: Path, mode: str, channels: int) -> None:
    """A transparent pixel is black, a half-transparent one half as bright, whatever colour lies below."""
    alpha = np.zeros((8, 8), dtype=np.uint8)
    alpha[2:], alpha[5:] = 128, 255
    if mode == "P":
        image = Image.fromarray(np.full((8, 8), 200, np.uint8)).convert("P")
        indices = np.where(alpha == 255, 1, 0).astype(np.uint8)
        image = Image.frombytes("P", (8, 8), indices.tobytes())
        image.putpalette([200, 200, 200, 200, 200, 200])
        path = save(tmp_path / "i.png", image, transparency=0)
        expected = np.where(alpha == 255, 200, 0)
    else:
        image = Image.merge("LA", [Image.fromarray(np.full((8, 8), 200, np.uint8)), Image.fromarray(alpha)])
        path = save(tmp_path / "i.png", image.convert(mode))
        expected = np.round(200 * (alpha / 255))
    found = decode(path, channels, None)
    assert found.shape == (channels, 8, 8) and np.abs(found - expected).max() <= 1


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    """A CMYK photograph has three channels, near the colours it had."""
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    found = decode(save(tmp_path / "i.jpg", image.convert("CMYK"), quality=95), 3, None)
    assert np.abs(found.reshape(3, -1).mean(axis=1) - (200, 100, 50)).max() < 4


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    """A picture taken with the camera on its side comes out upright, in size and in pixels."""
    upright = Image.fromarray(GRADIENT[:4])  # 8 wide, 4 high
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned; turn by 90 degrees to the right to see it
    names = [f"{label}/{number}.png" for label in "ab" for number in range(2)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        stored = upright.transpose(Image.Transpose.ROTATE_90)
        save(tmp_path / name, stored, exif=exif)
    assert np.array_equal(decode(str(tmp_path / names[0]), 1, None)[0], GRADIENT[:4])
    with pytest.raises(DataError, match="images are 8x4, not square"):
        folder(tmp_path)


def test_the_first_frame_is_taken(tmp_path: Path) -> None:
    """An animation is its first picture."""
    first, second = (Image.new("L", (8, 8), value) for value in (10, 200))
    found = decode(save(tmp_path / "i.gif", first, save_all=True, append_images=[second]), 1, None)
    assert (found == 10).all()


def test_resize_crops_the_centre_and_smooths(tmp_path: Path) -> None:
    """The largest centred square is taken, then PIL's bilinear with antialiasing."""
    wide = np.zeros((8, 16), dtype=np.uint8)
    wide[:, 4:12] = GRADIENT
    found = decode(save(tmp_path / "i.png", Image.fromarray(wide)), 1, 4)[0]
    assert np.array_equal(found, np.asarray(Image.fromarray(GRADIENT).resize((4, 4), Image.Resampling.BILINEAR)))
    assert abs(found.mean() - GRADIENT.mean()) < 1


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL's limit on pixels is an error here, where PIL itself only warns."""
    path = save(tmp_path / "i.png", Image.new("L", (40, 40)))
    open_image(path).close()
    for limit in (1599, 700):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="pixels"):
            open_image(path)


def test_other_formats_are_refused_whatever_the_name(tmp_path: Path) -> None:
    """A PostScript file called .png is not handed to an interpreter."""
    image = Image.new("RGB", (8, 8))
    image.save(tmp_path / "i.eps")
    (tmp_path / "i.eps").rename(tmp_path / "i.png")
    with pytest.raises(OSError, match="cannot identify"):
        open_image(str(tmp_path / "i.png"))
