"""Fourier transforms as contractions: they compile like every product of matrices."""
