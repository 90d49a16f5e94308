"""Tile programs as PTX text, from whole kernels down to single instructions.

``program.py`` begins, ``statements.py`` writes what a block does, and ``values.py``
and ``operations.py`` what it computes; ``ptx.py`` spells instructions. How points are
spread over threads is decided in ``thread_counts.py`` and ``spread.py``. What the
matrix unit takes is in ``matrix_unit``.
"""
