"""How temporaries lie in memory, chosen for all kernels of a schedule together.

``choose.py`` decides, by how kernels walk through their buffers (``access.py``);
``orders.py`` says what a choice is.
"""
