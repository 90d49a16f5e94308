"""The reference backend: NumPy interpreters that say what each level means.

Slow on purpose and free of cleverness; every other backend is tested against it.
"""

from tetragrad.backends.reference.device import open_device

__all__ = ["open_device"]
