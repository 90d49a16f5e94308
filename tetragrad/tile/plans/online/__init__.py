"""Attention: products whose rows are normalised while they are summed.

``online.py`` is the loop over blocks of keys, ``online_step.py`` what one is used for.
"""
