"""``docs/nn.md`` says what is true now."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from conformance.nn_table import FAMILIES, PAGE, REASONS, page


@pytest.mark.filterwarnings("ignore")
def test_table_is_up_to_date() -> None:
    # Write it again with: python -m conformance.nn_table
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.filterwarnings("ignore")
def test_reasons_are_of_names_that_are_absent() -> None:
    absent = {
        name
        for family in FAMILIES
        for name in family.names()
        if not family.is_here(name)
    }
    assert set(REASONS) <= absent
