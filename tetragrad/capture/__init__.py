"""What a captured function depends on and changes, beyond its arguments.

``tetragrad.jit`` returns what ``function`` holds. It is built from these parts:
``watch`` notes tensors from outside, ``state`` notes Python values, ``tree`` takes
arguments and results apart, and ``captured`` puts them together as one guarded replay.
"""
