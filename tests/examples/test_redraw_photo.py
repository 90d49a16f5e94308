"""The autoencoder draws real photos back at 29 dB or better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL")

from examples import redraw_photo
from tests.examples.data_folder import needs_data
from tetragrad.core.errors import DataError
from tetragrad.core.settings import override
from tetragrad.data import image

pytestmark = needs_data


# What PyTorch computes with the same weights, in decibels, is behind each name.
@pytest.mark.parametrize(
    ("name", "decibels"),
    [("astronaut", 31.19), ("chelsea_cat", 32.79), ("coffee", 29.62)],
)
def test_draws_back(
    name: str,
    decibels: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "drawn.png"
    command = ["redraw_photo.py", f"img/{name}.png", "--output", str(output)]
    monkeypatch.setattr("sys.argv", command)
    redraw_photo.main()
    photo, drawn = redraw_photo.crop(image(f"img/{name}.png")), image(output)
    measured = redraw_photo.signal_to_noise(photo, drawn)
    assert measured == pytest.approx(decibels, abs=0.05)
    assert capsys.readouterr().out == (
        f"{output}: {measured:.1f} dB like the original\n"
    )


def test_grey_photos_with_odd_sides_are_cut() -> None:
    grey = np.arange(17 * 30, dtype=np.uint8).reshape(17, 30, 1)
    cut = redraw_photo.crop(grey)
    assert cut.shape == (16, 24, 3)
    np.testing.assert_array_equal(cut[:, :, 2], grey[:16, :24, 0])


def test_weights_that_are_absent(tmp_path: Path) -> None:
    with (
        override(data=str(tmp_path), cache=str(tmp_path)),
        pytest.raises(DataError, match=r"gen/taef2_encoder\.pth"),
    ):
        redraw_photo.redraw(np.zeros((8, 8, 3), np.uint8))
