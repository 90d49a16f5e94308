"""The public Tensor: the handle plus every family of methods."""

from __future__ import annotations

from tetragrad.tensor.elementwise import ElementwiseMethods


class Tensor(ElementwiseMethods):
    """An array of one dtype on one device, computed when it is first needed."""

    __slots__ = ()
