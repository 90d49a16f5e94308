"""The tile level: how the data of a kernel moves, and what plans say about it."""
