"""The command ``tetragrad``: what is installed, what it can use, how it is set."""
