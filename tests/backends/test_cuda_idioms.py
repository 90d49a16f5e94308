"""What several ops of the graph are one instruction of."""

from __future__ import annotations

from tests.backends.cuda_programs import emitted
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A


def test_at_most_is_one_comparison() -> None:
    x = Tensor([1.0, 2.0, float("nan")])
    (program,) = emitted((x <= 1.5).float(), SM_90A)
    assert "setp.le.f32" in program.text
    assert "or.pred" not in program.text
