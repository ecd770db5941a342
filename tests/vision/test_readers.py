"""Every reader gives its dataset's images as they were published or stored, and names what it cannot use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100

from tests.vision.raw_files import (
    WNIDS,
    random_images,
    split_folder,
    tiny_imagenet_files,
    write_cifar,
    write_folder,
    write_svhn,
    write_tiny_imagenet,
)
from tracker.study.errors import DataDamaged, DataError, DataMissing
from tracker.study.recipe import DATASET_KINDS, DatasetSpec
from tracker.vision.progress import silent
from tracker.vision.readers import MODULES, reader_of
from tracker.vision.readers.decoding import NAMED
from tracker.vision.readers.pixels import decode, open_image
from tracker.vision.readers.raw import BLOCK, BLOCK_BYTES, RawSet, RawSplit, block_size, held_out


def read(raw: Path, **spec: object) -> RawSet:
    """Read as packing does."""
    checked = DatasetSpec(**spec)  # type: ignore[arg-type]
    return reader_of(checked.kind).read("mine", checked, raw, silent)


def pixels(split: RawSplit) -> np.ndarray:
    """Return all images of a split, whose blocks must be of the shape promised."""
    images = np.concatenate(list(split.blocks()))
    assert images.shape == (len(split), *split.shape) and images.dtype == np.uint8
    return images


def folder(path: Path, **spec: object) -> RawSet:
    """Read a folder of images."""
    return read(path, kind="folder", path=str(path), **spec)


@given(st.sampled_from([1, 3]), st.integers(1, 5000))
def test_blocks_are_bounded_in_memory(channels: int, side: int) -> None:
    """A block is one image at least, and beyond that never more than 32 MiB."""
    size = block_size((channels, side, side))
    assert 1 <= size <= BLOCK and (size == 1 or size * channels * side * side <= BLOCK_BYTES)


def test_every_kind_has_a_reader() -> None:
    """What a study file may name can be read."""
    assert sorted(MODULES) == sorted(DATASET_KINDS)
    assert len({id(reader_of(kind)) for kind in DATASET_KINDS}) == len(DATASET_KINDS)


@pytest.mark.parametrize(("kind", "dataset", "classes"), [("cifar10", CIFAR10, 10), ("cifar100", CIFAR100, 100)])
def test_cifar(
    kind: str, dataset: type[CIFAR10], classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pickled batches come out in order, channels first, with their class names."""
    train, test = random_images(105, classes), random_images(12, classes, seed=1)
    write_cifar(tmp_path, train, test, monkeypatch, dataset)
    found = read(tmp_path, kind=kind)
    assert np.array_equal(pixels(found.train), train[0]) and np.array_equal(found.train.labels, train[1])
    assert np.array_equal(pixels(found.test), test[0]) and np.array_equal(found.test.labels, test[1])
    assert len(found.classes) == classes and found.classes[9] == "class 9"


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MATLAB files come out image by image, the label 10 as the digit 0."""
    train, test = random_images(600, 10), random_images(7, 10, seed=1)
    write_svhn(tmp_path, train, test, monkeypatch)
    found = read(tmp_path, kind="svhn")
    assert len(train[0]) > BLOCK
    assert np.array_equal(pixels(found.train), train[0]) and np.array_equal(found.train.labels, train[1])
    assert np.array_equal(pixels(found.test), test[0]) and np.array_equal(found.test.labels, test[1])
    assert found.classes == tuple("0123456789")


def test_tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images by sorted wnid, test images by the val folder's annotations, all in RGB, named in words."""
    files = tiny_imagenet_files(train=4, test=5)
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200")
    assert found.classes == ("goldfish", "Egyptian cat", "lemon")
    assert found.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    order = sorted(WNIDS)
    assert found.test.labels.tolist() == [order.index(WNIDS[number % 3]) for number in range(5)]
    images = pixels(found.train)
    first = decode(files[f"train/{order[0]}/images/{order[0]}_0.JPEG"], 3, None)
    assert np.array_equal(images[0], first) and images.shape[1:] == (3, 64, 64)
    gray = [number for number, image in enumerate(images) if (image == image[:1]).all()]
    assert 0 < len(gray) < len(images)  # the archive's few grayscale files


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"wnids.txt": None}, "no item named"),
        ({"val/val_annotations.txt": b"gone.JPEG\tn01443537\t0\t0\t1\t1"}, "gone.JPEG"),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn00000000\t0\t0\t1\t1"}, "n00000000"),
        ({"val/val_annotations.txt": b""}, "names no image"),
        ({"wnids.txt": b"n01443537\nn02124075\nn07749582\nn99999999"}, "1 of 4 classes have no training image"),
        ({"large.bin": bytes(5 << 20)}, "the largest of 5,242,880 bytes"),
    ],
)
def test_a_wrong_tiny_imagenet_archive_is_named(
    change: dict[str, bytes | None], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive of the right name with other contents says what is wrong with it."""
    files = {name: content for name, content in (tiny_imagenet_files() | change).items() if content is not None}
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    with pytest.raises(DataDamaged, match=problem):
        read(tmp_path, kind="tiny-imagenet-200")


def test_a_broken_image_in_the_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is no image, or of another size, is named; the rest of the archive is still looked at."""
    files = tiny_imagenet_files()
    image = files["val/images/val_0.JPEG"]
    files["val/images/val_1.JPEG"] = image[: len(image) // 2]
    small = tmp_path / "small.png"
    write_folder(tmp_path, {"small.png": (8, 8)})
    files["val/images/val_2.JPEG"] = small.read_bytes()
    write_tiny_imagenet(tmp_path, files, monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200")
    with pytest.raises(DataDamaged, match="2 of 5 images") as caught:
        pixels(found.test)
    assert "val_1.JPEG" in caught.value.message and "8x8 pixels, not 64x64" in caught.value.message


def test_digits_are_scaled_to_bytes() -> None:
    """0 stays 0, 16 becomes 255, and every pixel is the nearest byte of its share."""
    found = read(Path(), kind="digits")
    images = np.concatenate([pixels(found.train), pixels(found.test)])
    bunch = load_digits()
    expected = np.round(bunch.images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, images)) == sorted(map(bytes, expected))
    assert images.min() == 0 and images.max() == 255 and images.shape == (1797, 1, 8, 8)


def test_digits_split_is_seeded_and_by_class() -> None:
    """A third of every class is for test; equal seeds give equal splits, others other ones."""
    first, again, other = (read(Path(), kind="digits", split_seed=seed) for seed in (0, 0, 1))
    for split in (first.train, first.test):
        counts = np.bincount(split.labels)
        assert len(counts) == 10 and counts.max() - counts.min() <= 7
    assert len(first.test) == 599 and len(first.train) == 1198
    assert np.array_equal(pixels(first.test), pixels(again.test))
    assert not np.array_equal(pixels(first.test), pixels(other.test))


def test_digits_classes_are_chosen_and_relabelled() -> None:
    """`classes` gives labels their order, and leaves each class's split as it is."""
    whole, part = read(Path(), kind="digits"), read(Path(), kind="digits", classes=(7, 2))
    assert part.classes == ("7", "2") and set(part.train.labels) == {0, 1}
    assert np.array_equal(pixels(part.test)[part.test.labels == 0], pixels(whole.test)[whole.test.labels == 7])
    assert np.array_equal(pixels(part.train)[part.train.labels == 1], pixels(whole.train)[whole.train.labels == 2])


def test_digits_resized() -> None:
    """`image_size` is PIL's bilinear, `channels: 3` repeats the gray."""
    plain, large = read(Path(), kind="digits"), read(Path(), kind="digits", image_size=32, channels=3)
    image = Image.fromarray(pixels(plain.test)[5][0]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels(large.test)[5], np.stack([np.asarray(image)] * 3))


@pytest.mark.parametrize("spec", [{}, {"classes": (5, 6, 7, 8, 9)}, {"test_fraction": 0.01, "image_size": 16}])
def test_facts_of_digits_hold(spec: dict[str, object]) -> None:
    """What is said of the digits before they are read is what reading gives."""
    checked = DatasetSpec(kind="digits", **spec)  # type: ignore[arg-type]
    facts, found = reader_of("digits").facts(checked), read(Path(), kind="digits", **spec)
    assert facts is not None
    assert (facts.train, facts.test, facts.classes) == (len(found.train), len(found.test), len(found.classes))
    assert facts.shape == found.train.shape


def test_published_datasets_take_size_and_channels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`image_size` and `channels` are never ignored, whatever the kind."""
    write_svhn(tmp_path, random_images(3, 10), random_images(3, 10), monkeypatch)
    found = read(tmp_path, kind="svhn", image_size=16, channels=1)
    assert pixels(found.train).shape == (3, 1, 16, 16)
    write_tiny_imagenet(tmp_path, tiny_imagenet_files(), monkeypatch)
    found = read(tmp_path, kind="tiny-imagenet-200", image_size=16, channels=1)
    assert pixels(found.train).shape == (12, 1, 16, 16)


@given(st.lists(st.integers(2, 30), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 5))
def test_held_out_share(sizes: list[int], fraction: float, seed: int) -> None:
    """Every class gives its rounded share, and keeps one image on either side, whatever the other classes."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple("abcd"[: len(sizes)])
    test = held_out(labels, fraction, seed, names)
    for label, size in enumerate(sizes):
        held = int(test[labels == label].sum())
        assert 1 <= held <= size - 1 and abs(held - size * fraction) <= 1
        alone = held_out(np.zeros(size, dtype=np.int64), fraction, seed, (names[label],))
        assert np.array_equal(test[labels == label], alone)


def test_folder_with_its_own_split(tmp_path: Path) -> None:
    """Classes are sorted by name, images by path; labels and pixels belong together."""
    split_folder(tmp_path, train=11, test=2, classes="ba")
    found = folder(tmp_path)
    assert found.classes == ("a", "b")
    assert found.train.labels.tolist() == [0] * 11 + [1] * 11 and found.test.labels.tolist() == [0, 0, 1, 1]
    names = sorted(path.name for path in (tmp_path / "train" / "b").iterdir())
    expected = [decode(str(tmp_path / "train" / "b" / name), 3, None) for name in names]
    assert np.array_equal(pixels(found.train)[11:], np.stack(expected))


def test_folder_val_is_not_test(tmp_path: Path) -> None:
    """A folder `val` beside train and test is no split and no class."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"val/a/0.png": (8, 8), "val/b/0.png": (8, 8)})
    found = folder(tmp_path)
    assert (len(found.train), len(found.test), found.classes) == (6, 4, ("a", "b"))


@pytest.mark.parametrize("only", ["train", "test"])
def test_folder_with_half_a_split_is_an_error(tmp_path: Path, only: str) -> None:
    """train/ without test/ is not taken for a class."""
    write_folder(tmp_path, {f"{only}/a/0.png": (8, 8), "val/b/0.png": (8, 8)})
    with pytest.raises(DataError, match=f"has {only}/ but no t"):
        folder(tmp_path)


def test_folder_of_classes_alone_is_split(tmp_path: Path) -> None:
    """CLASS/* is split by class, a fifth for test unless told otherwise, no image on both sides."""
    write_folder(tmp_path, {f"{label}/{number}.png": (8, 8) for label in "ab" for number in range(10)})
    found = folder(tmp_path)
    assert np.bincount(found.train.labels).tolist() == [8, 8] and np.bincount(found.test.labels).tolist() == [2, 2]
    both = {bytes(image) for image in pixels(found.train)} & {bytes(image) for image in pixels(found.test)}
    assert not both
    assert len(folder(tmp_path, test_fraction=0.5).test) == 10
    assert not np.array_equal(pixels(folder(tmp_path, split_seed=1).test), pixels(found.test))


@pytest.mark.parametrize("key", [{"test_fraction": 0.5}, {"split_seed": 1}])
def test_folder_split_keys_without_use_are_an_error(tmp_path: Path, key: dict[str, object]) -> None:
    """A split asked for where the folder has its own is refused, not ignored."""
    split_folder(tmp_path)
    with pytest.raises(DataError, match=f"sets {next(iter(key))}"):
        folder(tmp_path, **key)


def test_folder_classes_chosen(tmp_path: Path) -> None:
    """`classes` takes those folders in that order, and a name that is none lists those there are."""
    split_folder(tmp_path, classes="abc")
    found = folder(tmp_path, classes=("c", "a"))
    assert found.classes == ("c", "a") and len(found.train) == 6
    assert np.array_equal(pixels(found.train)[3:], pixels(folder(tmp_path).train)[:3])
    with pytest.raises(DataError, match="'d', which is no folder there") as caught:
        folder(tmp_path, classes=("a", "d"))
    assert "a, b, c" in str(caught.value.cure)


def test_folder_train_and_test_must_agree(tmp_path: Path) -> None:
    """A class on one side only is named, with the side it lacks."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"train/c/0.png": (8, 8)})
    with pytest.raises(DataError, match="'c' is not in test/"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"0.png": (8, 8)}, "has no folders, so no classes"),
        ({"a/0.png": (8, 8), "a/1.png": (8, 8)}, "has one class, 'a'"),
        ({"a/0.png": (8, 8), "b/0.png": (8, 8), "b/1.png": (8, 8)}, "class 'a' has 1 image, too few to split"),
    ],
)
def test_folder_that_is_no_dataset(tmp_path: Path, files: dict[str, tuple[int, int]], problem: str) -> None:
    """Too few classes or images to tell apart and test is said so."""
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=problem):
        folder(tmp_path)


def test_folder_class_without_images(tmp_path: Path) -> None:
    """An empty class folder is named."""
    split_folder(tmp_path)
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "test" / "c").mkdir()
    with pytest.raises(DataError, match=r"train/c: has no images"):
        folder(tmp_path)


def test_folder_missing_names_path_and_key(tmp_path: Path) -> None:
    """A folder that is not there says which, and which key to set."""
    with pytest.raises(DataMissing, match="nowhere") as caught:
        folder(tmp_path / "nowhere")
    assert caught.value.cure == "--set datasets.mine.path=FOLDER"


def test_folder_passes_over_what_is_no_image(tmp_path: Path) -> None:
    """Hidden files, other files, pipes and archivers' folders are counted and left out; any case is an image."""
    split_folder(tmp_path)
    (tmp_path / "train" / "a" / "0.png").rename(tmp_path / "train" / "a" / "0.PNG")
    (tmp_path / "train" / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "train" / "a" / "notes.txt").write_text("none")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "train" / "loose.png").write_bytes(b"")
    os.mkfifo(tmp_path / "train" / "a" / "pipe.png")
    found = folder(tmp_path)
    assert found.skipped == 5 and len(found.train) == 6


def test_folder_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    """A link to a folder counts as that folder; links in a circle, or to themselves, end the search."""
    split_folder(tmp_path / "set")
    write_folder(tmp_path, {"elsewhere/9.png": (8, 8)})
    inner = tmp_path / "set" / "train" / "a"
    (inner / "more").symlink_to(tmp_path / "elsewhere")
    (inner / "up").symlink_to(tmp_path / "set")
    (inner / "here").symlink_to(inner)
    (inner / "self").symlink_to(inner / "self")
    (tmp_path / "elsewhere" / "back").symlink_to(inner)
    found = folder(tmp_path / "set")
    assert len(found.train) == 7 and found.classes == ("a", "b")


def test_folder_unreadable_images_are_all_counted(tmp_path: Path) -> None:
    """Files that are no images, cut short, or dangling links: the first ten named, all counted."""
    split_folder(tmp_path, train=BLOCK // 2 + 20, test=1)
    names = sorted((tmp_path / "train" / "a").iterdir())[-12:]
    for path in names[:-1]:
        path.write_bytes(path.read_bytes()[:20])
    names[-1].unlink()
    names[-1].symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataDamaged, match="12 of 554 images cannot be read") as caught:
        folder(tmp_path)
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + NAMED + 1 and str(names[0]) in lines[1] and lines[-1].endswith("and 2 more")


def test_folder_truncated_image_is_named(tmp_path: Path) -> None:
    """An image whose header is whole and whose pixels are cut short is found on decoding."""
    split_folder(tmp_path, size=64)
    path = tmp_path / "train" / "b" / "1.png"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataDamaged, match="1 of 6 images cannot be read") as caught:
        pixels(folder(tmp_path).train)
    assert str(path) in caught.value.message


def test_folder_of_different_sizes_needs_image_size(tmp_path: Path) -> None:
    """Two files of different sizes are named with the key to set, which then makes all equal."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"train/b/wide.png": (20, 10)})
    with pytest.raises(DataError, match=r"train/a/0\.png is 8x8, train/b/wide\.png is 20x10") as caught:
        folder(tmp_path)
    assert "--set datasets.mine.image_size=" in str(caught.value.cure)
    assert pixels(folder(tmp_path, image_size=12).train).shape == (7, 3, 12, 12)


def test_folder_of_oblong_images_needs_image_size(tmp_path: Path) -> None:
    """Equal but not square is said so."""
    write_folder(tmp_path, {f"{label}/{number}.png": (20, 10) for label in "ab" for number in range(3)})
    with pytest.raises(DataError, match="20x10, not square"):
        folder(tmp_path)


def test_folder_channels_follow_the_images(tmp_path: Path) -> None:
    """One channel only where every image is gray, unless told; else RGB."""
    names = {f"{label}/{number}.png": (8, 8) for label in "ab" for number in range(3)}
    write_folder(tmp_path, names, mode="L")
    assert folder(tmp_path).train.shape == (1, 8, 8)
    assert pixels(folder(tmp_path, channels=3).train).shape == (4, 3, 8, 8)
    write_folder(tmp_path, {"a/rgb.png": (8, 8)})
    assert folder(tmp_path).train.shape == (3, 8, 8)
    assert pixels(folder(tmp_path, channels=1).train).shape[1] == 1


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
