"""The data sets themselves: the real files where they are, and what is said if not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetragrad import data
from tetragrad.core.errors import DataError, FileFormatError, ShapeError
from tetragrad.core.settings import override, settings
from tetragrad.data import sets
from tetragrad.data.sets import parse_cifar10

needs_data = pytest.mark.skipif(not settings().data, reason="TETRAGRAD_DATA is not set")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No data folder, no cache, no network."""
    monkeypatch.setattr(sets, "MNIST_MIRRORS", ())
    with override(data=str(tmp_path / "none"), cache=str(tmp_path / "cache")):
        yield tmp_path


@needs_data
def test_mnist() -> None:
    mnist = data.mnist()
    train_images, train_labels, test_images, test_labels = mnist
    assert mnist.name == "MNIST"
    assert (train_images.shape, test_images.shape) == (
        (60_000, 28, 28),
        (10_000, 28, 28),
    )
    assert train_images.dtype == np.uint8
    assert train_labels.dtype == np.int64
    assert train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert round(float(train_images.mean() / 255), 4) == 0.1307


def test_digits() -> None:
    pytest.importorskip("sklearn")
    digits = data.digits()
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert digits.train_images.shape[1:] == (8, 8)
    assert digits.train_images.max() == 255
    assert set(digits.test_labels.tolist()) == set(range(10))
    again = data.digits()
    assert np.array_equal(digits.test_images, again.test_images)


def test_digits_can_be_enlarged() -> None:
    pytest.importorskip("sklearn")
    small, large = data.digits(), data.digits(size=28)
    assert large.train_images.shape[1:] == (28, 28)
    assert np.array_equal(small.train_labels, large.train_labels)
    difference = large.train_images.mean() - small.train_images.mean()
    assert abs(difference) < 3
    with pytest.raises(ShapeError, match="size=4 is less"):
        data.digits(size=4)


def test_enlarging_keeps_constants_and_symmetry() -> None:
    flat = np.full((1, 8, 8), 200.0)
    assert np.all(sets._enlarge(flat, 28) == 200)
    ramp = np.tile(np.arange(8.0) * 30, (1, 8, 1))
    enlarged = sets._enlarge(ramp, 28).astype(int)
    assert np.all(np.diff(enlarged[0, 0]) >= 0)
    mirrored = sets._enlarge(ramp[:, :, ::-1], 28)
    assert np.array_equal(mirrored[:, :, ::-1], enlarged)


def test_mnist_falls_back_on_digits(nowhere: Path) -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.*was not found"):
        data.mnist()
    fallback = data.mnist_or_digits()
    assert fallback.name == "digits"
    assert fallback.train_images.shape[1:] == (28, 28)


def test_a_damaged_mnist_is_reported_not_replaced(nowhere: Path) -> None:
    file = nowhere / "none" / "mnist" / "train-images-idx3-ubyte"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    with pytest.raises(FileFormatError, match="damaged"):
        data.mnist_or_digits()


def test_digits_without_scikit_learn(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="scikit-learn, which is not installed"):
        data.digits()
    with pytest.raises(DataError, match="TETRAGRAD_DATA"):
        data.mnist_or_digits()


@needs_data
def test_cifar10() -> None:
    images, labels = data.cifar10()
    assert images.shape == (1000, 3, 32, 32)
    assert images.dtype == np.uint8
    # The training set starts with a frog and two trucks.
    assert labels[:3].tolist() == [6, 9, 9]


def test_cifar10_files_are_checked(tmp_path: Path, nowhere: Path) -> None:
    record = bytes([3]) + bytes(range(256)) * 12
    images, labels = parse_cifar10(record * 2, "file")
    assert labels.tolist() == [3, 3]
    assert images[1, 1, 0, :3].tolist() == [0, 1, 2]
    assert images.shape == (2, 3, 32, 32)
    with pytest.raises(FileFormatError, match="whole number"):
        parse_cifar10(record[:-1], "file")
    with pytest.raises(FileFormatError, match="label 77"):
        parse_cifar10(bytes([77]) + record[1:], "file")
    with pytest.raises(DataError, match="absent"):
        data.read_cifar10(tmp_path / "absent")
    with pytest.raises(DataError, match="cifar10_lossless"):
        data.cifar10()


@needs_data
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("tinyshakespeare", "First Citizen:\nBefore we proceed"),
        ("names", "emma\nolivia\n"),
        ("wikitext2", " \n = Homarus gammarus = \n"),
    ],
)
def test_texts(name: str, start: str) -> None:
    assert data.text(name).startswith(start)


def test_unknown_texts_are_refused() -> None:
    with pytest.raises(DataError, match="no text called 'bible'") as caught:
        data.text("bible")
    assert "tinyshakespeare" in str(caught.value)


@needs_data
def test_images_in_the_data_folder() -> None:
    pytest.importorskip("PIL")
    assert data.image("img/coffee.png").shape == (400, 600, 3)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 7, [7]),
        ("1", 1, [255]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 4), [1, 2, 3, 4]),
        ("LA", (5, 6), [5, 5, 5, 6]),
        ("I;16", 256 * 9, [9]),
        ("P", 0, [0, 0, 0]),
    ],
)
def test_image_modes(
    tmp_path: Path, mode: str, value: Any, expected: list[int]
) -> None:
    image_module = pytest.importorskip("PIL.Image")
    image_module.new(mode, (3, 2), value).save(tmp_path / "image.png")
    pixels = data.image(tmp_path / "image.png")
    assert pixels.shape == (2, 3, len(expected))
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == expected


def test_images_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n but then nothing")
    with pytest.raises(FileFormatError, match="cannot be read"):
        data.image(tmp_path / "image.png")
    with pytest.raises(DataError, match=r"no image 'absent\.png'"):
        data.image("absent.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="pip install pillow"):
        data.image(tmp_path / "image.png")
