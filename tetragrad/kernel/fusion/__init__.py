"""Which nodes share a kernel, and why.

Read ``fuse.py``: the order of everything. It decides by the facts of ``analysis.py``
and writes into ``decisions.py``; ``row_join.py``, ``online_join.py``,
``recompute_join.py`` and ``siblings.py`` are ways to join kernels, each with what must
hold for it; ``stored_operands.py`` says what is stored before it is read. ``groups.py``
is the result, and ``repeats.py`` lowers groups that are
alike only once.
"""
