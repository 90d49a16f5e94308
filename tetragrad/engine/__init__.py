"""The engine: the one place that runs the compiler's stages in order."""
