"""The denoiser takes noise away, and keeps the length and the speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from examples import denoise_speech
from tests.examples.data_folder import needs_data
from tetragrad.core.errors import DataError

SECONDS = 3


@needs_data
def test_noise_goes_away() -> None:
    clean = denoise_speech.read_sound(Path("audio/jfk.wav"))
    clean = clean[: SECONDS * denoise_speech.RATE]
    noisy = denoise_speech.add_noise(clean, 15.6)
    result = denoise_speech.denoise(noisy)
    assert result.shape == clean.shape
    before = denoise_speech.signal_to_noise(clean, noisy)
    after = denoise_speech.signal_to_noise(clean, result)
    assert before == pytest.approx(15.6, abs=0.01)
    assert after > before + 3


@needs_data
def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short, output = tmp_path / "short.wav", tmp_path / "clean.wav"
    sound = denoise_speech.read_sound(Path("audio/jfk.wav"))[8000:12000]
    denoise_speech.write_sound(short, sound)
    arguments = ["denoise_speech.py", str(short), "--as-is", "--output", str(output)]
    monkeypatch.setattr("sys.argv", arguments)
    denoise_speech.main()
    assert capsys.readouterr().out == f"wrote {output}\n"
    assert denoise_speech.read_sound(output).shape == sound.shape


def test_a_recording_that_is_not_there() -> None:
    with pytest.raises(DataError, match="there is no recording"):
        denoise_speech.read_sound(Path("nowhere.wav"))


def test_noise_is_as_loud_as_asked_for() -> None:
    sound = np.sin(np.arange(4000, dtype=np.float32))
    noisy = denoise_speech.add_noise(sound, 20.0)
    assert denoise_speech.signal_to_noise(sound, noisy) == pytest.approx(20, abs=0.01)
