"""The engine: the one place that runs the compiler's stages in order.

``realize.py`` is where tensors come in, and ``pipeline.py`` the table of contents of
what follows: ``assembly.py`` compiles, ``placement.py`` gives every argument its
memory, and the result is a ``schedule.py``. ``structure.py`` is the key under which
it is kept.

Beside it: ``capture.py`` and ``replay.py`` record and repeat what ran,
``disk_cache.py`` keeps machine code, ``tuning.py`` measured plans; ``explain.py``,
``picture.py`` and ``profile.py`` show what happens.
"""
