"""Whole models on a GPU: ours beside PyTorch's, eager and compiled.

    python benchmarks/h200_models.py gpt2 vit --output results.json
    python benchmarks/h200_models.py gpt2 --profile        where a step's time goes
    python benchmarks/h200_models.py --small --device cpu  every model, on any machine
    python benchmarks/h200_models.py gpt2 --prepare ptxas  without a GPU: compile only

Both libraries run the same program, in ``networks.py``, from the same random weights. A
step of training is forward, backward and AdamW (MNIST: Adam), ours captured by ``jit``;
decoding is one token after the other with keys and values kept, each token read before
the next is asked for. PyTorch's compiler gets the network, and makes CUDA graphs where
kernels are small. Losses, or the scores of a token, are compared with PyTorch's in
float32.
ResNet-50 is in ``resnet50.py``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import networks
from benchmarks.mnist import network as mnist
from benchmarks.resnet50 import seconds_a_call
from tetragrad.core.frozen import frozen

CHECKED_STEPS = 4
RATE = 1e-4
PATIENCE_SECONDS = 150
#: Where decoding begins, as a part of the places for keys and values.
BEGIN = 0.5


@frozen
class Model:
    """A network, what one call of it is given, and what is counted a second."""

    #: The network for a library; None stands for float32.
    network: Callable[[Any, Any], Any]
    #: Numbers or words, and labels: what a step of training is given.
    batch: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
    counted: int
    unit: str
    is_half: bool = True
    #: PyTorch's compiler makes CUDA graphs where kernels are shorter than launches.
    mode: str = "default"
    #: The deviation of random weights; 0 leaves them as the library makes them.
    deviation: float = 0.02


@frozen
class Generation:
    """A decoder, and how many sequences and tokens it is given at once."""

    size: networks.Decoder
    batch: int
    tokens: int = 1

    @property
    def counted(self) -> int:
        """Tokens of a call."""
        return self.batch * self.tokens


def models(*, small: bool) -> dict[str, Model | Generation]:
    """Every workload, by the name that asks for it."""
    gpt2, vit, llama = networks.GPT2, networks.VIT_B16, networks.LLAMA3_8B
    digits, texts, images, sequences, prompt = 512, 16, 128, 16, 512
    if small:
        gpt2 = networks.Transformer(2, 64, 2, 256, 64)
        vit = networks.Transformer(2, 64, 2, 10, 32)
        llama = networks.Decoder(2, 128, 4, 512, 64, 2, 256)
        digits, texts, images, sequences, prompt = 16, 2, 4, 2, 16
    return {
        "mnist": Model(
            lambda library, half: mnist(library.nn),
            lambda random: labelled(random, (digits, 1, 28, 28), 10),
            digits,
            "images",
            is_half=False,
            mode="reduce-overhead",
            deviation=0.0,
        ),
        "gpt2": Model(
            lambda library, half: networks.gpt2(library, gpt2, half),
            lambda random: text(random, (texts, gpt2.length), gpt2.words),
            texts * gpt2.length,
            "tokens",
        ),
        "vit": Model(
            lambda library, half: networks.vision_transformer(library, vit, half),
            lambda random: labelled(
                random, (images, 3, vit.length, vit.length), vit.words
            ),
            images,
            "images",
        ),
        "decode1": Generation(llama, 1),
        "decode16": Generation(llama, sequences),
        "prefill": Generation(llama, 1, prompt),
    }


def labelled(
    random: np.random.Generator, shape: tuple[int, ...], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images, and a class for each."""
    images = random.standard_normal(shape, np.float32)
    return images, random.integers(0, classes, shape[0])


def text(
    random: np.random.Generator, shape: tuple[int, int], words: int
) -> tuple[np.ndarray, np.ndarray]:
    """Words, and those that follow them."""
    found = random.integers(0, words, (shape[0], shape[1] + 1))
    return found[:, :-1].copy(), found[:, 1:].copy()


# --- one network of either library ---------------------------------------------------


def build(model: Model | Generation, library: Any, half: Any) -> Any:
    """The network, with weights as the library makes them."""
    if isinstance(model, Model):
        return model.network(library, half)
    network = networks.llama(library, model.size, model.batch)
    return network if half is None else network.to(half)


def weights_of(network: Any, deviation: float) -> dict[str, Any]:
    """PyTorch's weights, made random where they are matrices."""
    import torch

    with torch.no_grad():
        for parameter in network.parameters():
            if deviation and parameter.ndim > 1:
                parameter.normal_(0.0, deviation)
                # So that it is the same in half width.
                parameter.copy_(parameter.bfloat16())
    return {name: value.clone() for name, value in network.state_dict().items()}


def generator(network: Any) -> Any:
    """The likeliest next token of each sequence."""

    def step(tokens: Any, positions: Any) -> Any:
        return network(tokens, positions).argmax(-1)

    return step


def trainer(library: Any, network: Any, forward: Any, **options: Any) -> Any:
    """A step of training, in the words that both libraries share."""
    is_adam = not hasattr(network, "blocks")
    kind = library.optim.Adam if is_adam else library.optim.AdamW
    optimizer = kind(network.parameters(), lr=RATE, **options)
    cross_entropy = library.nn.functional.cross_entropy

    def step(inputs: Any, labels: Any) -> Any:
        scores = forward(inputs)
        scores = scores.reshape(-1, scores.shape[-1]).float()
        loss = cross_entropy(scores, labels.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


class Run:
    """One library's network, and a function that does one call of the workload."""

    def __init__(self, library: Any, model: Model | Generation, half: Any) -> None:
        self.library, self.model = library, model
        random = np.random.default_rng(1)
        if isinstance(model, Model):
            inputs, labels = map(self.tensor, model.batch(random))
            if half is not None and inputs.is_floating_point():
                inputs = inputs.to(half)
            self.inputs, self.labels = inputs, labels
        else:
            shape = (model.batch, model.tokens)
            self.words = random.integers(0, model.size.words, shape)
            self.token, self.place = self.tensor(self.words), self.begin

    def tensor(self, array: np.ndarray) -> Any:
        """An array where the library computes."""
        return self.library.tensor(array)

    @property
    def begin(self) -> int:
        """The position of the first token."""
        assert isinstance(self.model, Generation)
        one_by_one = self.model.tokens == 1
        return int(BEGIN * self.model.size.length) if one_by_one else 0

    def one(self) -> Any:
        """A step of training, or the next token of each sequence."""
        if isinstance(self.model, Model):
            return self.step(self.inputs, self.labels)
        stop = self.place + self.model.tokens
        positions = self.tensor(np.arange(self.place, stop))
        with self.library.no_grad():
            found = self.step(self.token, positions)
        if self.model.tokens == 1:
            # What a step gives may be overwritten by the next one.
            self.token, self.place = found.clone(), stop
            if stop == self.model.size.length:
                self.place = self.begin
        return found

    def values(self) -> np.ndarray:
        """The losses of some steps, or the scores of the first token."""
        if isinstance(self.model, Model):
            return np.array([self.one().tolist() for _ in range(CHECKED_STEPS)])
        positions = self.tensor(np.arange(self.place, self.place + self.model.tokens))
        with self.library.no_grad():
            return np.array(self.network(self.token, positions).float().tolist())


class Ours(Run):
    """Ours, captured."""

    def __init__(self, model: Model | Generation, weights: dict[str, Any]) -> None:
        import tetragrad

        self.kind = tetragrad.bfloat16 if is_half(model) else None
        network = build(model, tetragrad, self.kind)
        if weights:
            network.load_state_dict(
                {name: tetragrad.from_dlpack(v) for name, v in weights.items()}
            )
        super().__init__(tetragrad, model, self.kind)
        self.network = network
        is_trained = isinstance(model, Model)
        self.step = tetragrad.jit(
            trainer(tetragrad, network, network) if is_trained else generator(network)
        )


class Theirs(Run):
    """PyTorch's, eager or compiled."""

    def __init__(
        self, model: Model | Generation, device: str, *, half: bool, compiled: bool
    ) -> None:
        import torch

        self.device = device
        kind = torch.bfloat16 if half else None
        torch.manual_seed(0)
        with torch.device(device):
            network = build(model, torch, kind)
        deviation = model.deviation if isinstance(model, Model) else 0.02
        self.weights = weights_of(network, deviation)
        super().__init__(torch, model, kind)
        self.network = network
        if isinstance(model, Model):
            forward = torch.compile(network, mode=model.mode) if compiled else network
            self.step = trainer(torch, network, forward, fused=device == "cuda")
        else:
            self.step = generator(network)
            if compiled:
                self.step = torch.compile(self.step, mode="reduce-overhead")

    def tensor(self, array: np.ndarray) -> Any:
        return self.library.tensor(array, device=self.device)


def is_half(model: Model | Generation) -> bool:
    """Whether it is to be computed in half width."""
    return isinstance(model, Generation) or model.is_half


# --- right, and how fast -------------------------------------------------------------


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """How far losses or scores are from what they should be, as a part of that."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def milliseconds(call: Callable[[], Any], wait: Callable[[], None]) -> float:
    """The median of several calls, each of which is waited for."""
    return 1e3 * statistics.median(seconds_a_call(call, wait))


def compare(
    model: Model | Generation, device: str, peers: list[str], *, profile: bool
) -> dict[str, Any]:
    """Ours beside each peer: milliseconds, what is counted a second, and errors."""
    import torch

    from tetragrad.engine.realize import device as device_of

    torch.set_float32_matmul_precision("highest")
    exact = Theirs(model, device, half=False, compiled=False)
    weights, wanted = exact.weights, exact.values()
    del exact
    clean()
    torch.set_float32_matmul_precision("high")
    ours = Ours(model, weights)
    del weights
    found: dict[str, Any] = {}
    found["ours error"] = difference(ours.values(), wanted)
    for _ in range(CHECKED_STEPS):
        ours.one()
    found["launches"] = len(ours.step.captures[0].program.launches)
    found["ours"] = milliseconds(ours.one, device_of(device).synchronize)
    show(found)
    if profile:
        from benchmarks.h200_timing import print_kernel_times

        print_kernel_times(ours.step)
    del ours
    wait = torch.cuda.synchronize if device == "cuda" else int
    for peer in peers:
        clean()
        compiled = peer == "compiled"
        theirs = Theirs(model, device, half=is_half(model), compiled=compiled)
        found[f"{peer} error"] = difference(theirs.values(), wanted)
        found[peer] = milliseconds(theirs.one, wait)
        show(found)
    rates = {
        f"{name} a second": model.counted / found[name] * 1e3
        for name in ("ours", *peers)
    }
    return {**found, **rates}


def clean() -> None:
    """Give back what nobody uses any more."""
    import torch

    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def first_steps(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the first calls in fresh processes, with nothing kept and with all."""
    command = [sys.executable, __file__, name, "--first", "--device", options.device]
    command += ["--small"] if options.small else []
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            printed = subprocess.run(
                command,
                env={**os.environ, "TETRAGRAD_CACHE": folder},
                capture_output=True,
                text=True,
                check=True,
                timeout=PATIENCE_SECONDS,
            ).stdout
            found[state] = json.loads(printed.splitlines()[-1])
            show({state: found[state]})
    return found


def measure_first(model: Model | Generation) -> list[float]:
    """The first three calls of this process, each up to its result on the host."""
    ours = Ours(model, {})
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ours.one().tolist()
        seconds.append(time.perf_counter() - start)
    return seconds


def show(found: Any) -> None:
    """What is known so far."""
    print(json.dumps(found), flush=True)


def main() -> None:
    """Measure what is asked for, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; all of them if left out")
    parser.add_argument("--peers", default="eager,compiled", help="may be empty")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--first", action="store_true", help="only the first calls")
    parser.add_argument("--starts", action="store_true", help="the first calls too")
    parser.add_argument("--prepare", default="", help="the assembler, without a GPU")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.prepare:
        from benchmarks.h200_timing import Assembler

        Assembler.install(options.prepare)
    from tetragrad.core.settings import override

    with override(device=options.device, tf32=True):
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Each model that is asked for; what is known is kept after each."""
    from benchmarks.h200_timing import driver_version

    chosen = models(small=options.small)
    record: dict[str, Any] = {"date": time.strftime("%Y-%m-%d")}
    if options.device == "cuda" and not options.prepare:
        record["driver"] = driver_version()
    for name in options.names or chosen:
        if options.first or options.prepare:
            show(measure_first(chosen[name]))
            continue
        peers = [entry for entry in options.peers.split(",") if entry]
        found = record[name] = {}
        show(name)
        if options.starts:
            found |= first_steps(name, options)
        found |= compare(chosen[name], options.device, peers, profile=options.profile)
        if options.output is not None:
            options.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
