"""Plans: which tiles a kernel is computed in, chosen by a model and then built::

    plan = choose_plan(kernel, target, settings)     small typed data
    program = build(kernel, plan, target)            a pure function of it

They are in ``choose.py`` and ``build.py``, which load all the others. A program whose
kernels are all kept asks only for facts about kernels, and imports neither.

``choose_*.py`` pick sizes for a kind of kernel, and a file without that word builds it:
``nest.py`` (everything that is no product), ``panels.py`` and ``roles.py`` (products on
processors and on GPUs), ``direct.py`` (convolutions), ``online.py`` (attention),
``stream.py``, ``transpose.py``. All of them write with a ``scope.py``. ``axes.py``,
``cuts.py`` and ``repack.py`` change a kernel before it is planned.
"""
