"""Kernels: loop nests as pure data, and how a graph is fused and lowered to them."""
