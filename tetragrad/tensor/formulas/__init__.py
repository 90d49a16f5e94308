"""Functions of numbers as compositions of the graph's ops, by family."""
