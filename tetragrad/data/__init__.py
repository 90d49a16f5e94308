"""Data sets that load from a folder, a cache or the web, and batches from any data::

images, labels, test_images, test_labels = data.mnist_or_digits()
loader = data.DataLoader(data.TensorDataset(images, labels), 64, shuffle=True)
"""

from tetragrad.data.dataset import Dataset, Subset, TensorDataset, random_split
from tetragrad.data.idx import read_idx
from tetragrad.data.loader import DataLoader
from tetragrad.data.location import (
    DataFile,
    cache_folder,
    data_folder,
    read_data_file,
)
from tetragrad.data.sets import (
    ImageSet,
    cifar10,
    digits,
    image,
    mnist,
    mnist_or_digits,
    read_cifar10,
    text,
)

__all__ = [
    "DataFile",
    "DataLoader",
    "Dataset",
    "ImageSet",
    "Subset",
    "TensorDataset",
    "cache_folder",
    "cifar10",
    "data_folder",
    "digits",
    "image",
    "mnist",
    "mnist_or_digits",
    "random_split",
    "read_cifar10",
    "read_data_file",
    "read_idx",
    "text",
]
