"""Backends: one folder per kind of device, each with everything that device needs.

``backend.py`` says what the engine needs of one; ``reference`` is the smallest.
"""
