"""Take the noise out of a recording of speech, with a model that is an ONNX file.

    python examples/denoise_speech.py audio/jfk.wav

The network is DTLN (N. Westhausen and B. Meyer, 2020), in two files. The first hears
the loudness of each frequency and says how much of it is speech; the second mends the
sound itself. Both remember what came before. Without --as-is noise is added first, so
that one can tell how much of it went away.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np

from tetragrad import Tensor, jit, no_grad, onnx
from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.data import DataFile, data_folder, read_data_file

ADDRESS = "https://raw.githubusercontent.com/breizhn/DTLN/master/pretrained_model"
MODELS = (
    DataFile(
        "onnx/dtln_model_1.onnx",
        sha256="22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3",
        nbytes=1_458_237,
        urls=(f"{ADDRESS}/model_1.onnx",),
    ),
    DataFile(
        "onnx/dtln_model_2.onnx",
        sha256="e20c92f9233fccf29cddf86970d0d0161a03aebccc26d6f4d5639c4d5ec2e639",
        nbytes=2_510_010,
        urls=(f"{ADDRESS}/model_2.onnx",),
    ),
)
RATE = 16_000
# The model hears 32 milliseconds at a time, and moves on by a quarter of that.
BLOCK, STEP = 512, 128


class Denoiser:
    """Both parts, and what they remember."""

    def __init__(self) -> None:
        spectrum, sound = (onnx.load(read_data_file(file)) for file in MODELS)
        self.spectrum = jit(lambda loudness, state: spectrum(loudness, state))
        self.sound = jit(lambda block, state: sound(block, state))
        self.states = [Tensor.zeros(1, 2, 128, 2).realize() for _ in MODELS]

    @no_grad()
    def clean(self, block: np.ndarray) -> np.ndarray:
        """One block of samples without its noise."""
        waves = np.fft.rfft(block)
        loudness = Tensor(np.abs(waves).astype(np.float32).reshape(1, 1, -1))
        share, self.states[0] = self.spectrum(loudness, self.states[0])
        estimate = np.fft.irfft(waves * share.numpy().ravel()).astype(np.float32)
        mended, self.states[1] = self.sound(
            Tensor(estimate.reshape(1, 1, -1)), self.states[1]
        )
        return mended.numpy().ravel()


def denoise(samples: np.ndarray) -> np.ndarray:
    """The whole recording: overlapping blocks, added up."""
    denoiser = Denoiser()
    before, after = BLOCK - STEP, BLOCK + -len(samples) % STEP
    padded = np.pad(samples, (before, after))
    result = np.zeros_like(padded)
    for start in range(0, len(padded) - BLOCK + 1, STEP):
        place = slice(start, start + BLOCK)
        result[place] += denoiser.clean(padded[place])
    return result[before : before + len(samples)]


def signal_to_noise(clean: np.ndarray, noisy: np.ndarray) -> float:
    """How much louder the clean sound is than what differs from it, in decibels."""
    return float(10 * np.log10(np.sum(clean**2) / np.sum((clean - noisy) ** 2)))


def add_noise(samples: np.ndarray, decibels: float) -> np.ndarray:
    """The recording with white noise that much softer than it."""
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    wanted = np.mean(samples**2) / 10 ** (decibels / 10)
    return samples + noise * np.sqrt(wanted / np.mean(noise**2))


def read_sound(path: Path) -> np.ndarray:
    """The samples of a WAV file between -1 and 1; also from the data folder."""
    folder = data_folder()
    places = [path] if folder is None else [path, folder / path]
    found = [place for place in places if place.is_file()]
    if not found:
        raise DataError(
            f"there is no recording {str(path)!r}",
            hint="give the full path, or set TETRAGRAD_DATA to the folder it is in",
        )
    with wave.open(str(found[0])) as file:
        form = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if form != (RATE, 1, 2):
            raise FileFormatError(f"{found[0]} is not mono, 16 bits, at {RATE} hertz")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def write_sound(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        loud = np.clip(samples * 32768, -32768, 32767)
        file.writeframes(loud.astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", type=Path, default="audio/jfk.wav")
    parser.add_argument("--noise", type=float, default=15.6, help="decibels")
    parser.add_argument("--as-is", action="store_true", help="add no noise")
    parser.add_argument("--output", type=Path, default="denoised.wav")
    options = parser.parse_args()
    clean = read_sound(options.recording)
    heard = clean if options.as_is else add_noise(clean, options.noise)
    result = denoise(heard)
    if not options.as_is:
        before, after = (signal_to_noise(clean, sound) for sound in (heard, result))
        print(f"signal to noise: {before:.1f} -> {after:.1f} dB")
    write_sound(options.output, result)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
