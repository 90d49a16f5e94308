"""Tile programs as LLVM IR text, from whole programs down to single instructions.

``program.py`` begins, ``statements.py`` has a method for each statement, and
``expressions.py`` and ``operations.py`` write what they compute; ``vector.py`` spells
instructions. How long vectors are is decided in ``widths.py``; ``product.py`` is the
matrix product in registers.
"""
