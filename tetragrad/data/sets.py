"""The data sets that examples and tests use::

    train_images, train_labels, test_images, test_labels = mnist_or_digits()

Images are uint8 arrays with the number of images first, labels int64 arrays. Every
file is known by its checksum, wherever it comes from; see ``location``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tetragrad.core.errors import DataError, FileFormatError, ShapeError
from tetragrad.core.frozen import frozen
from tetragrad.data.idx import parse_idx
from tetragrad.data.location import DataFile, data_folder, read_data_file

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    "train-labels-idx1-ubyte": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        60_008,
    ),
    "t10k-images-idx3-ubyte": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    "t10k-labels-idx1-ubyte": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_008,
    ),
}
CIFAR10_FILE = DataFile(
    "cifar10/cifar10_lossless_first1000_train.bin.gz",
    "1c5f9ea0fc1111d586f29115efd3db25eecf7db27b29aaebbe84721446b052cc",
    3_073_000,
)
GITHUB = "https://raw.githubusercontent.com/"
TEXT_FILES = {
    "tinyshakespeare": DataFile(
        "tinyshakespeare_input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1_115_394,
        (GITHUB + "karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
    ),
    "names": DataFile(
        "names.txt",
        "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
        228_145,
        (GITHUB + "karpathy/makemore/master/names.txt",),
    ),
    "wikitext2": DataFile(
        "wikitext2_valid.txt",
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        1_121_681,
        (
            GITHUB
            + "pytorch/examples/main/word_language_model/data/wikitext-2/valid.txt",
        ),
    ),
}
CIFAR10_IMAGE_SHAPE = (3, 32, 32)
DIGITS_SIZE = 8
DIGITS_MAXIMUM = 16
# Every fifth image of each digit is a test image: 364 of 1,797.
DIGITS_TEST_EVERY = 5


@frozen
class ImageSet:
    """Images to train with and images to test on; unpacks into the four arrays.

    >>> images, labels = np.zeros((1, 2, 2)), np.zeros(1)
    >>> len(list(data.ImageSet("blank", images, labels, images, labels)))
    4
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        yield self.train_images
        yield self.train_labels
        yield self.test_images
        yield self.test_labels


def mnist() -> ImageSet:
    """MNIST: 60,000 and 10,000 handwritten digits of 28 by 28 pixels."""
    arrays = [_read_mnist_file(name) for name in MNIST_FILES]
    train_images, train_labels, test_images, test_labels = arrays
    return ImageSet(
        "MNIST",
        train_images,
        train_labels.astype(np.int64),
        test_images,
        test_labels.astype(np.int64),
    )


def _read_mnist_file(name: str) -> np.ndarray:
    sha256, nbytes = MNIST_FILES[name]
    urls = tuple(f"{mirror}{name}.gz" for mirror in MNIST_MIRRORS)
    file = DataFile(f"mnist/{name}.gz", sha256, nbytes, urls)
    return parse_idx(read_data_file(file), name)


def digits(size: int = DIGITS_SIZE) -> ImageSet:
    """The 1,797 digits that scikit-learn carries, 8 by 8 pixels or enlarged."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            "the digits data set is part of scikit-learn, which is not installed",
            hint="pip install scikit-learn, or set TETRAGRAD_DATA to a folder with "
            "MNIST and use mnist()",
        ) from None
    if size < DIGITS_SIZE:
        raise ShapeError(
            f"the digits are {DIGITS_SIZE} by {DIGITS_SIZE} pixels; "
            f"size={size} is less",
            hint=f"pass a size of {DIGITS_SIZE} or more",
        )
    bunch = load_digits()
    images = _enlarge(bunch.images * (255.0 / DIGITS_MAXIMUM), size)
    labels = bunch.target.astype(np.int64)
    is_test = _every_nth_of_each_class(labels, DIGITS_TEST_EVERY)
    return ImageSet(
        "digits",
        images[~is_test],
        labels[~is_test],
        images[is_test],
        labels[is_test],
    )


def _every_nth_of_each_class(labels: np.ndarray, step: int) -> np.ndarray:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[::step]] = True
    return chosen


def _enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation between pixel centres, rounded to uint8."""
    old_size = images.shape[-1]
    centres = (np.arange(size) + 0.5) * old_size / size - 0.5
    lower = np.clip(np.floor(centres), 0, old_size - 2).astype(np.int64)
    share = np.clip(centres - lower, 0.0, 1.0)
    weights = np.zeros((size, old_size))
    weights[np.arange(size), lower] = 1.0 - share
    weights[np.arange(size), lower + 1] += share
    enlarged = np.einsum("ih,nhw,jw->nij", weights, images, weights, optimize=True)
    rounded: np.ndarray = np.rint(enlarged).astype(np.uint8)
    return rounded


def mnist_or_digits() -> ImageSet:
    """MNIST wherever it can be found, else the digits enlarged to its size."""
    try:
        return mnist()
    except DataError as missing:
        try:
            return digits(size=28)
        except DataError as error:
            raise error from missing


def cifar10() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the first 1,000 training images of CIFAR-10."""
    return parse_cifar10(read_data_file(CIFAR10_FILE), CIFAR10_FILE.path)


def read_cifar10(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in any file of CIFAR-10's binary version, uncompressed."""
    try:
        contents = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {os.fspath(path)!r}: {error}") from error
    return parse_cifar10(contents, str(path))


def parse_cifar10(contents: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and 3 x 32 x 32 pixels, channel by channel."""
    record_bytes = 1 + int(np.prod(CIFAR10_IMAGE_SHAPE))
    if len(contents) % record_bytes:
        raise FileFormatError(
            f"{name}: {len(contents):,} bytes are not a whole number of "
            f"{record_bytes}-byte records",
            hint="the file is truncated or not in CIFAR-10's binary layout",
        )
    records = np.frombuffer(contents, np.uint8).reshape(-1, record_bytes)
    labels = records[:, 0].astype(np.int64)
    if labels.size and labels.max() > 9:
        raise FileFormatError(
            f"{name}: it has label {labels.max()}; CIFAR-10 has 0 to 9",
            hint="the file is not in CIFAR-10's binary layout",
        )
    return records[:, 1:].reshape(-1, *CIFAR10_IMAGE_SHAPE).copy(), labels


def text(name: str) -> str:
    """A text: "tinyshakespeare", "names" (one a line) or "wikitext2"."""
    if name not in TEXT_FILES:
        raise DataError(
            f"there is no text called {name!r}",
            hint=f"use one of {', '.join(map(repr, TEXT_FILES))}",
        )
    return read_data_file(TEXT_FILES[name]).decode("utf-8")


def image(path: str | os.PathLike[str]) -> np.ndarray:
    """An image file as a uint8 array of shape (height, width, channels).

    A relative path is looked for in the current folder, then in the data folder.
    Palettes become colours; a grey image has one channel.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError(
            f"reading the image {os.fspath(path)!r} needs Pillow, "
            "which is not installed",
            hint="pip install pillow",
        ) from None
    place = _find_image(Path(path))
    try:
        with Image.open(place) as picture:
            pixels = _pixels(picture)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:
        raise FileFormatError(f"{place}: this image cannot be read: {error}") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def _pixels(picture: Any) -> np.ndarray:
    if picture.mode.startswith("I"):
        # Sixteen bits a pixel; Pillow's own conversion would clip, not scale.
        return (np.array(picture) >> 8).astype(np.uint8)
    modes = {"1": "L", "L": "L", "LA": "RGBA", "RGBA": "RGBA"}
    return np.array(picture.convert(modes.get(picture.mode, "RGB")), dtype=np.uint8)


def _find_image(path: Path) -> Path:
    folder = data_folder()
    places = [path] if folder is None else [path, folder / path]
    for place in places:
        if place.is_file():
            return place
    looked_in = ", ".join(str(place) for place in places)
    raise DataError(
        f"there is no image {str(path)!r}; looked at {looked_in}",
        hint="give the full path, or set TETRAGRAD_DATA to the folder it is in",
    )
