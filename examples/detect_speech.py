"""Find the stretches of a recording in which somebody speaks.

    python examples/detect_speech.py audio/jfk.wav

The network is Silero VAD: it hears 32 milliseconds at a time, and remembers what came
before. Any mono WAV file of 16,000 samples a second will do.
"""

from __future__ import annotations

import argparse
import wave
from pathlib import Path

import numpy as np

from tetragrad import Tensor, jit, nn, no_grad
from tetragrad.core.errors import DataError, FileFormatError
from tetragrad.data import DataFile, data_folder, read_data_file
from tetragrad.nn import functional as F
from tetragrad.state import load_safetensors

WEIGHTS = DataFile(
    "speech/silero_vad_16k.safetensors",
    sha256="c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1",
    nbytes=1_239_748,
    urls=(
        "https://raw.githubusercontent.com/snakers4/silero-vad/master/"
        "src/silero_vad/data/silero_vad_16k.safetensors",
    ),
)
RATE = 16_000
# Each chunk is heard together with the end of the one before.
CHUNK, OVERLAP = 512, 64
FREQUENCIES, WIDTH = 129, 128
State = tuple[Tensor, Tensor]


class SpeechDetector(nn.Module):
    """An encoder of chunks of sound, and a memory of what was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * FREQUENCIES, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(FREQUENCIES, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, WIDTH, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(WIDTH, WIDTH)
        self.final_conv = nn.Conv1d(WIDTH, 1, 1)

    def encode(self, chunks: Tensor) -> Tensor:
        """Each chunk (OVERLAP + CHUNK samples) by itself, as WIDTH numbers."""
        sound = F.pad(chunks.unsqueeze(1), (0, 64), mode="reflect")
        cosines, sines = self.stft_conv(sound).chunk(2, dim=1)
        x = (cosines.square() + sines.square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(layer(x))
        return x.squeeze(-1)

    @jit
    @no_grad()
    def listen(
        self, encoded: Tensor, number: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """How likely one chunk has speech in it, given what came before."""
        hidden, cell = self.lstm_cell(encoded[number], state)
        score = self.final_conv(F.relu(hidden).unsqueeze(-1))
        return score.sigmoid(), (hidden, cell)

    @no_grad()
    def detect(self, chunks: np.ndarray) -> np.ndarray:
        """How likely each chunk has speech in it."""
        encoded = self.encode(Tensor(chunks)).realize()
        state = Tensor.zeros(1, WIDTH), Tensor.zeros(1, WIDTH)
        likelihoods = []
        for number in range(len(chunks)):
            likelihood, state = self.listen(encoded, Tensor([number]), state)
            likelihoods.append(likelihood.item())
        return np.array(likelihoods)


def load_detector() -> SpeechDetector:
    model = SpeechDetector().eval()
    model.load_state_dict(load_safetensors(read_data_file(WEIGHTS)))
    return model


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
        form = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
        if form != (RATE, 1, 16):
            raise FileFormatError(
                f"{found[0]} has {form[0]} samples a second, {form[1]} channels and "
                f"{form[2]} bits; needed are {RATE}, 1 and 16"
            )
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def cut_chunks(samples: np.ndarray) -> np.ndarray:
    """Overlapping chunks (count, OVERLAP + CHUNK), with silence around the sound."""
    filled = np.pad(samples, (OVERLAP, -len(samples) % CHUNK))
    windows = np.lib.stride_tricks.sliding_window_view(filled, OVERLAP + CHUNK)
    return windows[::CHUNK].copy()


def stretches(likelihoods: np.ndarray, limit: float = 0.5) -> list[tuple[float, float]]:
    """From when to when, in seconds, the likelihood is above the limit."""
    speaks = np.pad(likelihoods > limit, 1).astype(np.int8)
    edges = np.flatnonzero(np.diff(speaks)) * CHUNK / RATE
    return [(float(start), float(stop)) for start, stop in edges.reshape(-1, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", type=Path, default="audio/jfk.wav")
    chunks = cut_chunks(read_sound(parser.parse_args().recording))
    likelihoods = load_detector().detect(chunks)
    print("".join(" ▁▂▃▄▅▆▇█"[round(8 * likelihood)] for likelihood in likelihoods))
    for start, stop in stretches(likelihoods):
        print(f"speech from {start:.2f} to {stop:.2f} seconds")


if __name__ == "__main__":
    main()
