# The two commands of everyday work; `make check` is what the CI runs.

.PHONY: check format

check:
	.ci/run

format:
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
