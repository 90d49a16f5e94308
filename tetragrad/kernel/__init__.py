"""Kernels: loop nests as pure data, and how a graph is fused and lowered to them.

What a kernel is: ``affine.py`` (addresses), ``expression.py`` (values), ``ir.py``
(the kernel), ``text.py`` (how it is printed) and ``verify.py`` (what holds of it).

How it comes about: ``fusion.py`` groups nodes, by the facts of ``analysis.py``;
``lowering.py`` makes a kernel of each group, with the ``coordinates.py`` of
movements, ``simplify.py`` and ``bounds.py``; ``repeats.py`` does so once for groups
that are alike.

What is made better: ``recognise.py`` finds gathers, scatters and scans, ``online.py``
passes that can be one, ``siblings.py`` and ``joined.py`` kernels that can be one.
"""
