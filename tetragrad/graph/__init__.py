"""The graph: immutable, interned nodes of four op types, and leaves.

Read ``node.py`` first, then the ops: ``elementwise``, ``reduce.py``,
``movement.py`` and ``leaves.py``. ``gradients.py`` is the only walk that builds more
graph; ``text.py`` prints one, ``verify.py`` checks it. ``sizes.py`` and
``symbolic.py`` are about sizes that differ from run to run, and are skipped at a
first reading.
"""
