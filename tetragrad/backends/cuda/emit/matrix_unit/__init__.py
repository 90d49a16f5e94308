"""The matrix unit, and what brings it operands: copies, channels, roles, registers.

``matrix.py`` is mma.sync, for every GPU; ``warpgroup.py`` Hopper's wgmma. There,
``roles.py`` lets groups of warps go their own way, ``channels.py`` connects them, and
``bulk.py`` has the copy engine fill them.
"""
