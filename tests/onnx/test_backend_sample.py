"""A sample of ONNX's own backend tests; ``conformance/onnx_backend.py`` runs all."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")

from conformance.onnx_backend import EXCLUDED, cases, run_case
from tetragrad.core.settings import override

#: Every so many of the tests, from a different one on for each device.
STRIDES = {"cpu": (120, 7), "reference": (20, 3)}


def sample(device: str) -> list[str]:
    stride, first = STRIDES[device]
    names = sorted(name for name in cases() if name not in EXCLUDED)
    return names[first::stride]


@pytest.mark.parametrize("device", STRIDES)
def test_sample(device: str) -> None:
    wrong = []
    for name in sample(device):
        with override(device=device):
            try:
                run_case(cases()[name])
            except Exception as error:
                wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_exclusion_is_a_test_of_the_suite() -> None:
    assert set(EXCLUDED) <= set(cases())
