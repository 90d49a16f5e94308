"""The graph: immutable, interned nodes of four op types, and leaves."""
