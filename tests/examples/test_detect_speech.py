"""The speech detector against an independent NumPy implementation in float64."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from examples import detect_speech
from tests.examples.data_folder import needs_data
from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.data import read_data_file
from tetragrad.state import open_safetensors


def reference(chunks: np.ndarray) -> np.ndarray:
    """The likelihoods that the same weights give."""
    stored = open_safetensors(read_data_file(detect_speech.WEIGHTS))
    weights = {name: array.astype(np.float64) for name, array in stored.items()}
    sound = np.pad(chunks.astype(np.float64), [(0, 0), (0, 64)], mode="reflect")
    spectrum = convolve(sound[:, None], weights["stft_conv.weight"], stride=128)
    x = np.hypot(spectrum[:, :129], spectrum[:, 129:])
    for number, stride in (1, 1), (2, 2), (3, 2), (4, 1):
        x = np.pad(x, [(0, 0), (0, 0), (1, 1)])
        x = convolve(x, weights[f"conv{number}.weight"], stride)
        x = np.maximum(x + weights[f"conv{number}.bias"][:, None], 0)
    hidden = cell = np.zeros(128)
    scores = []
    for heard in x[:, :, 0]:
        hidden, cell = remember(heard, hidden, cell, weights)
        score = weights["final_conv.weight"][0, :, 0] @ np.maximum(hidden, 0)
        scores.append(score + weights["final_conv.bias"][0])
    return sigmoid(np.array(scores))


def convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2], axis=2)
    return np.einsum("nctk,ock->not", windows[:, :, ::stride], weight, optimize=True)


def remember(
    heard: np.ndarray,
    hidden: np.ndarray,
    cell: np.ndarray,
    weights: dict[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """One step of a long short-term memory."""
    sums = weights["lstm_cell.weight_ih"] @ heard + weights["lstm_cell.bias_ih"]
    sums = sums + weights["lstm_cell.weight_hh"] @ hidden + weights["lstm_cell.bias_hh"]
    enter, keep, new, leave = np.split(sums, 4)
    cell = sigmoid(keep) * cell + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(cell), cell


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@needs_data
def test_every_likelihood() -> None:
    samples = detect_speech.read_sound(Path("audio/jfk.wav"))
    chunks = detect_speech.cut_chunks(samples)
    likelihoods = detect_speech.load_detector().detect(chunks)
    np.testing.assert_allclose(likelihoods, reference(chunks), atol=1e-5)


@needs_data
def test_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["detect_speech.py", "audio/jfk.wav"])
    detect_speech.main()
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "speech from 0.32 to 2.24 seconds"
    assert len(lines) == 6


def test_chunks_overlap_and_end_in_silence() -> None:
    chunks = detect_speech.cut_chunks(np.arange(1, 701, dtype=np.float32))
    assert chunks.shape == (2, 576)
    assert chunks[0, :64].tolist() == [0.0] * 64
    np.testing.assert_array_equal(chunks[1, :64], chunks[0, -64:])
    assert chunks[1, 64 + 188 :].tolist() == [0.0] * 324


def test_stretches() -> None:
    likelihoods = np.array([0.9, 0.1, 0.8, 0.7])
    assert detect_speech.stretches(likelihoods) == [(0.0, 0.032), (0.064, 0.128)]
    assert detect_speech.stretches(np.zeros(3)) == []


def test_recording_that_is_absent() -> None:
    with pytest.raises(DataError, match=r"there is no recording 'nowhere\.wav'"):
        detect_speech.read_sound(Path("nowhere.wav"))


def test_recording_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(bytes(400))
    with pytest.raises(FileFormatError, match="44100 samples a second, 2 channels"):
        detect_speech.read_sound(path)
