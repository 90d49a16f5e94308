"""Facts that every level shares: dtypes, errors, settings, what a device can do.

``target.py`` and ``settings.py`` say what everything else may ask about a machine and
about a run; ``frozen.py`` is how data are written in this tree.
"""
