"""Products and attention for a GPU whose warps have roles: some bring, some multiply.

Read ``role_plan.py`` and ``roles.py``. ``bulk.py`` says which operands the copy engine
can bring as they lie, and ``repack.py`` stores the others first. The files named
``online`` are attention.
"""
