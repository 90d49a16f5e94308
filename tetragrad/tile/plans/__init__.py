"""Plans: which tiles a kernel is computed in, chosen by a model and then built::

    plan = choose_plan(kernel, target, settings)     small typed data
    program = build(kernel, plan, target)            a pure function of it

They are in ``choose.py`` and ``build.py``, which load all the others. A program whose
kernels are all kept asks only for facts about kernels, and imports neither.

Each kind of kernel has a folder: ``nests`` (everything that is no product),
``products`` and ``roles`` (products and convolutions on processors and on GPUs),
``online`` (attention). There ``choose_*.py`` pick sizes, and a file without that word
builds what was chosen. All of them write with a ``scope.py``, and look at
``traffic.py`` for what a kernel reads, writes and computes. ``prepare`` changes a
kernel before.
"""
