"""Products of matrices, and convolutions as such, for a processor with caches.

Read ``contraction.py`` (what a product is), ``panels.py`` (how it is blocked) and
``micro_tiles.py`` (what all blockings share); ``direct.py`` reads images.
"""
