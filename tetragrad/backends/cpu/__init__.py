"""The CPU backend: LLVM IR text, assembled in process and run on native threads."""
