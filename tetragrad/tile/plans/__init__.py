"""Plans: which tiles a kernel is computed in, chosen by a model and then built.

plan = choose_plan(kernel, target, settings)     small typed data
program = build(kernel, plan, target)            a pure function of it

They are in ``choose.py`` and ``build.py``, which load all the others. A program whose
kernels are all kept asks only for facts about kernels, and imports neither.
"""
