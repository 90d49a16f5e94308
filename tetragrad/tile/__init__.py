"""The tile level: how the data of a kernel moves, and what plans say about it.

``ir.py`` is the tile program, ``layout.py`` where the elements of its tiles are;
``simulator.py`` says what a program means, ``verify.py`` what must hold of it, and
``text.py`` prints it. ``plans`` writes programs. ``functions.py`` has the elementary
functions, written once for every device in the words of ``arithmetic.py``.
"""
