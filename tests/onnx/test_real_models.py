"""Models that others trained: the same outputs as ONNX Runtime, and useful ones."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import tetragrad
from tests.examples.data_folder import needs_data
from tetragrad import Tensor
from tetragrad.data import data_folder, mnist
from tetragrad.onnx import OnnxModel, load

#: Each model's inputs: a shape of random numbers, or the value itself.
INPUTS: dict[str, dict[str, Any]] = {
    "mnist-8": {"Input3": (1, 1, 28, 28)},
    "FastestDet": {"input.1": (1, 3, 352, 352)},
    "basic_pitch_nmp": {"serving_default_input_2:0": (1, 43844, 1)},
    "dtln_model_1": {"input_2": (1, 1, 257), "input_3": (1, 2, 128, 2)},
    "dtln_model_2": {"input_4": (1, 1, 512), "input_5": (1, 2, 128, 2)},
    "silero_vad_16k_op15": {"input": (1, 576), "state": (2, 1, 128), "sr": 16000},
    "magika_standard_v3_3": {"bytes": (1, 2048)},
    "ultraface_slim-320": {"input": (1, 3, 240, 320)},
    "yunet_n_320_320": {"input": (1, 3, 320, 320)},
}


def path_of(name: str) -> Path:
    folder = data_folder()
    assert folder is not None
    return folder / "onnx" / f"{name}.onnx"


def inputs_of(name: str, model: OnnxModel) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for entry in model.inputs:
        given = INPUTS[name][entry.name]
        if isinstance(given, int):
            values[entry.name] = given
        elif entry.dtype == np.int32:
            values[entry.name] = generator.integers(0, 257, given).astype(np.int32)
        else:
            values[entry.name] = generator.standard_normal(given).astype(np.float32)
    return values


def expected_of(name: str, values: dict[str, Any]) -> list[np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        str(path_of(name)), options, providers=["CPUExecutionProvider"]
    )
    arrays = {key: np.asarray(value) for key, value in values.items()}
    found: list[np.ndarray] = session.run(None, arrays)
    return found


def as_tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


@needs_data
@pytest.mark.parametrize("name", INPUTS)
@tetragrad.no_grad()
def test_the_same_outputs_as_onnx_runtime(name: str) -> None:
    """Also from the second call on, which is a replay."""
    model = load(path_of(name))
    values = inputs_of(name, model)
    expected = expected_of(name, values)
    step = tetragrad.jit(lambda **inputs: model(**inputs))
    arguments = {
        key: value if isinstance(value, int) else Tensor(value)
        for key, value in values.items()
    }
    for _ in range(2):
        found = as_tuple(step(**arguments))
        for result, wanted in zip(found, expected, strict=True):
            # A softmax or sigmoid of ONNX Runtime is off by 1e-6 near zero.
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(
                result.numpy(), wanted, rtol=1e-4, atol=max(1e-4 * scale, 2e-6)
            )


@needs_data
@tetragrad.no_grad()
def test_digits_are_read() -> None:
    digits = mnist()
    model = load(path_of("mnist-8"))
    step = tetragrad.jit(lambda image: model(image).argmax(-1))
    images = digits.test_images[:200].astype(np.float32).reshape(-1, 1, 1, 28, 28)
    found = [int(step(Tensor(image)).item()) for image in images]
    assert np.mean(np.array(found) == digits.test_labels[:200]) >= 0.97


@needs_data
@tetragrad.no_grad()
def test_file_types_are_recognised() -> None:
    """The first and the last 1,024 bytes, without the space around the text."""
    path = path_of("magika_standard_v3_3")
    labels = json.loads(path.with_suffix(".config.json").read_text("utf-8"))
    contents = Path(__file__).read_bytes().strip()
    scores = load(path)(
        np.frombuffer(contents[:1024] + contents[-1024:], np.uint8)[None].astype("i4")
    )
    best = int(scores.argmax(-1).item())
    assert labels["target_labels_space"][best] == "python"


def _halved(samples: np.ndarray) -> np.ndarray:
    """Half as many samples a second, without the frequencies that these cannot hold."""
    place = np.arange(-64, 65)
    response = np.sinc(place / 2) / 2 * np.kaiser(129, 12)
    return np.convolve(samples, response / response.sum(), "same")[::2]


@needs_data
@tetragrad.no_grad()
def test_pitches_equal_the_stored_ones() -> None:
    """basic-pitch hears windows of two seconds; its authors' output is stored."""
    folder = data_folder()
    assert folder is not None
    with wave.open(str(folder / "audio/vocadito_10.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    # Windows overlap by 30 frames of 256 samples, of which each gives up one half.
    length, overlap = 43844, 30 * 256
    sound = np.pad(_halved(samples), (overlap // 2, length)).astype(np.float32)
    model = load(path_of("basic_pitch_nmp"))
    step = tetragrad.jit(lambda window: model(window))
    frames = []
    for start in range(0, 3 * (length - overlap), length - overlap):
        window = sound[start : start + length].reshape(1, -1, 1)
        frames.append([part.numpy()[0, 15:-15] for part in step(Tensor(window))])
    archive = folder / "audio/basic_pitch_vocadito_10_model_output.npz"
    stored = np.load(archive, allow_pickle=True)["arr_0"].item()
    names = ("onset", "note", "contour")
    for name, parts in zip(names, zip(*frames, strict=True), strict=True):
        found = np.concatenate(parts)
        wanted = stored[name][: len(found)]
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9999


def _picture(name: str, width: int, height: int) -> np.ndarray:
    """A photo of a size, (height, width, 3), from 0 to 255."""
    image = pytest.importorskip("PIL.Image")
    folder = data_folder()
    assert folder is not None
    with image.open(folder / "img" / name) as photo:
        small = photo.convert("RGB").resize((width, height), image.BILINEAR)
    return np.asarray(small, np.float32)


@needs_data
@tetragrad.no_grad()
def test_the_detector_finds_the_person() -> None:
    """FastestDet gives for each cell how likely it holds an object, and which."""
    pixels = _picture("astronaut.png", 352, 352)[..., ::-1] / 255
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]
    cells = load(path_of("FastestDet"))(planes.astype(np.float32)).numpy()[0]
    likelihood = cells[0] ** 0.6 * cells[5:].max(0) ** 0.4
    best = np.unravel_index(likelihood.argmax(), likelihood.shape)
    assert likelihood[best] > 0.6
    person = 0
    assert cells[5:, best[0], best[1]].argmax() == person


@needs_data
@tetragrad.no_grad()
def test_the_face_is_found() -> None:
    pixels = (_picture("astronaut.png", 320, 240) - 127) / 128
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]
    scores, boxes = load(path_of("ultraface_slim-320"))(planes.astype(np.float32))
    best = int(scores[0, :, 1].argmax().item())
    assert scores[0, best, 1].item() > 0.9
    left, top, right, bottom = boxes[0, best].tolist()
    # Her nose, as parts of the width and the height.
    assert left < 0.43 < right
    assert top < 0.25 < bottom
