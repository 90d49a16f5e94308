"""Kernels: loop nests as pure data, and how a graph is fused and lowered to them.

What a kernel is: ``affine.py`` (addresses), ``expression.py`` (values), ``ir.py``
(the kernel), ``text.py`` (how it is printed) and ``verify.py`` (what holds of it).

How it comes about: ``fusion`` groups nodes; ``lowering.py`` makes a kernel of each
group, with the ``coordinates.py`` of movements, ``simplify.py`` and ``bounds.py``.

What is made better: ``recognise.py`` finds gathers, scatters and scans, ``online.py``
passes that can be one, ``joined.py`` launches that can be one; ``layouts`` chooses how
temporaries lie in memory.
"""
