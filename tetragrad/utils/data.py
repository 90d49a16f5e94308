"""``tetragrad.data``, where PyTorch has it."""

from tetragrad.data import *  # noqa: F403 (a list of names, see there)
from tetragrad.data import __all__ as __all__
