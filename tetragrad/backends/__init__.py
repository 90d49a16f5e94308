"""Backends: one folder per kind of device, each with everything that device needs."""
