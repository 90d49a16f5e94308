"""Everything that is no product: loops over points, rows, columns and windows.

``nest.py`` is the general one; ``stream.py`` walks down columns, ``transpose.py``
changes which axis is contiguous, ``slide.py`` keeps the image that windows share.
"""
