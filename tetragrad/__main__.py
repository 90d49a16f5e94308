"""``python -m tetragrad`` is the command ``tetragrad``."""

from tetragrad.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
