"""Data sets that load from a folder, a cache or the web, and batches from any data::

images, labels, test_images, test_labels = data.mnist_or_digits()
loader = data.DataLoader(data.TensorDataset(images, labels), 64, shuffle=True)
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import missing
from tetragrad.data.combined import (
    ChainDataset,
    ConcatDataset,
    IterableDataset,
    StackDataset,
)
from tetragrad.data.dataset import (
    Dataset,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
    random_split,
)
from tetragrad.data.idx import read_idx
from tetragrad.data.loader import DataLoader
from tetragrad.data.location import (
    DataFile,
    cache_folder,
    data_folder,
    read_data_file,
)
from tetragrad.data.samplers import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
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
from tetragrad.data.workers import get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataFile",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "ImageSet",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "cache_folder",
    "cifar10",
    "data_folder",
    "default_collate",
    "default_convert",
    "digits",
    "get_worker_info",
    "image",
    "mnist",
    "mnist_or_digits",
    "random_split",
    "read_cifar10",
    "read_data_file",
    "read_idx",
    "text",
]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.data", __all__)
