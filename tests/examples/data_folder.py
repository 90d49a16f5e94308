"""The one reason for which these tests may be skipped."""

from __future__ import annotations

import pytest

from tetragrad.data import data_folder

needs_data = pytest.mark.skipif(
    data_folder() is None, reason="TETRAGRAD_DATA is not set"
)
