"""ResNet-50, trained and used: ours beside PyTorch's, from the same random weights.

    python benchmarks/resnet50.py --check                 small, on any machine
    python benchmarks/resnet50.py --output results.json   on a GPU
    python benchmarks/resnet50.py --prepare ptxas         without one: compile only

A training step is forward, backward and SGD with momentum, captured; inference is the
network in ``eval()``, captured. In half width, convolutions and the last layer read and
write bfloat16, as under PyTorch's autocast, and parameters stay float32. PyTorch runs
with channels last, eager and compiled. The first step is timed from the call to its
loss on the host, in a process of its own: with nothing kept on disk, and again with
what that one kept.

``--check`` compares one step on small images with one in float64.
Source of the network: He et al., "Deep residual learning for image recognition", 2015,
with the stride in the middle of a block.
"""

from __future__ import annotations

import argparse
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

#: Blocks of each stage, and the channels inside them.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
WIDENING = 4
CLASSES = 1000
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-4
STEPS, WARM_STEPS = 20, 5
#: Images of a batch and their side, where it is timed and where it is checked.
TIMED, CHECKED = (256, 224), (8, 64)
#: How long a process that is started here may take.
PATIENCE_SECONDS = 120


# --- the network ---------------------------------------------------------------------


def network(nn: Any, half: Any = None, classes: int = CLASSES) -> Any:
    """ResNet-50 in the words that both libraries share.

    ``half`` is the dtype that convolutions and the last layer compute in.
    """
    convolution, norm, linear = layers(nn, half)

    class Block(nn.Module):  # type: ignore[misc]
        """Narrow, look around, widen, and add what came in."""

        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = WIDENING * width
            self.narrow = convolution(inputs, width, 1, bias=False)
            self.norm1 = norm(width)
            self.look = convolution(
                width, width, 3, stride=stride, padding=1, bias=False
            )
            self.norm2 = norm(width)
            self.widen = convolution(width, outputs, 1, bias=False)
            self.norm3 = norm(outputs)
            self.shortcut = nn.Identity()
            if stride > 1 or inputs != outputs:
                self.shortcut = nn.Sequential(
                    convolution(inputs, outputs, 1, stride=stride, bias=False),
                    norm(outputs),
                )

        def forward(self, x: Any) -> Any:
            y = self.norm1(self.narrow(x)).relu()
            y = self.norm2(self.look(y)).relu()
            return (self.norm3(self.widen(y)) + self.shortcut(x)).relu()

    blocks = []
    inputs = 64
    for stage, (count, width) in enumerate(STAGES):
        for number in range(count):
            stride = 2 if stage and not number else 1
            blocks.append(Block(inputs, width, stride))
            inputs = WIDENING * width
    return nn.Sequential(
        convolution(3, 64, 7, stride=2, padding=3, bias=False),
        norm(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        linear(inputs, classes),
    )


def layers(nn: Any, half: Any) -> tuple[Any, Any, Any]:
    """The layers with parameters: as they are, or computing in half width."""
    if half is None:
        return nn.Conv2d, nn.BatchNorm2d, nn.Linear
    functional = nn.functional

    class Convolution(nn.Conv2d):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            weight = self.weight.to(half)
            return functional.conv2d(
                x.to(half), weight, None, self.stride, self.padding
            )

    class Norm(nn.BatchNorm2d):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return super().forward(x.float()).to(half)

    class Linear(nn.Linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            weight, bias = self.weight.to(half), self.bias.to(half)
            return functional.linear(x.to(half), weight, bias)

    return Convolution, Norm, Linear


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights of a size that keeps activations near one; statistics as they begin."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            scale = float(2 / np.prod(shape[1:])) ** 0.5
            state[name] = scale * rng.standard_normal(shape, np.float32)
        elif name.endswith(("running_var", "weight")):
            state[name] = np.ones(shape, np.float32)
        else:
            kind = np.int64 if name.endswith("tracked") else np.float32
            state[name] = np.zeros(shape, kind)
    return state


def random_batch(batch: int, side: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with channels last, and labels."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((batch, side, side, 3), np.float32)
    return images, rng.integers(0, classes, batch)


# --- ours ----------------------------------------------------------------------------


class Ours:
    """The network on a device of ours, with captured steps."""

    def __init__(self, batch: int, side: int, half: bool, classes: int) -> None:
        import tetragrad
        from tetragrad import Tensor, nn, optim

        self.model = network(nn, tetragrad.bfloat16 if half else None, classes)
        shapes = {name: v.shape for name, v in self.model.state_dict().items()}
        state = random_state(shapes)
        self.model.load_state_dict({k: Tensor(v) for k, v in state.items()})
        self.optimizer = optim.SGD(
            self.model.parameters(), RATE, MOMENTUM, weight_decay=DECAY
        )
        images, labels = random_batch(batch, side, classes)
        x = Tensor(images)
        self.images = (x.to(tetragrad.bfloat16) if half else x).realize()
        self.labels = Tensor(labels).realize()
        self._step = tetragrad.jit(self.step)
        self._answer = tetragrad.jit(self.answer)

    def loss(self, images: Any, labels: Any) -> Any:
        """The mean loss of a batch whose channels are last in memory."""
        logits = self.model(images.permute(0, 3, 1, 2))
        return logits.float().cross_entropy(labels)

    def step(self, images: Any, labels: Any) -> Any:
        """One step of training; gives the loss before it."""
        loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def answer(self, images: Any) -> Any:
        """The logits of a batch."""
        return self.model(images.permute(0, 3, 1, 2))

    def train(self) -> Any:
        """A captured step; the loss stays on the device."""
        return self._step(self.images, self.labels)

    def use(self) -> Any:
        """Captured inference."""
        from tetragrad import no_grad

        with no_grad():
            return self._answer(self.images)


# --- PyTorch -------------------------------------------------------------------------


class Theirs:
    """The same in PyTorch, channels last, half-width by autocast."""

    def __init__(
        self, batch: int, side: int, half: bool, classes: int, device: str
    ) -> None:
        import torch

        self.torch, self.half, self.device = torch, half, device
        self.model = network(torch.nn, None, classes)
        shapes = {n: tuple(v.shape) for n, v in self.model.state_dict().items()}
        state = random_state(shapes)
        self.model.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        self.model.to(device, memory_format=torch.channels_last)
        self.forward: Callable[..., Any] = self.model
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), RATE, MOMENTUM, weight_decay=DECAY
        )
        images, labels = random_batch(batch, side, classes)
        self.images = torch.tensor(images, device=device).permute(0, 3, 1, 2)
        self.labels = torch.tensor(labels, device=device)

    def compile(self) -> None:
        """Let PyTorch's compiler have the network."""
        self.forward = self.torch.compile(self.model)

    def loss(self) -> Any:
        """The mean loss of the batch."""
        functional = self.torch.nn.functional
        return functional.cross_entropy(self.answer().float(), self.labels)

    def answer(self) -> Any:
        """The logits of the batch."""
        kind = self.device.partition(":")[0]
        with self.torch.autocast(kind, self.torch.bfloat16, enabled=self.half):
            return self.forward(self.images)

    def train(self) -> Any:
        """One step of training."""
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def use(self) -> Any:
        """Inference."""
        with self.torch.inference_mode():
            return self.answer()


# --- right ---------------------------------------------------------------------------


def check(batch: int, side: int, half: bool, device: str) -> dict[str, float]:
    """How far one step of ours, and one of PyTorch's, are from one in float64."""
    from tetragrad.core.settings import override

    exact = Theirs(batch, side, False, 10, "cpu")
    exact.model.double()
    exact.images = exact.images.double()
    wanted = outcome(exact)
    peer = Theirs(batch, side, half, 10, "cuda" if device == "cuda" else "cpu")
    with override(device=device):
        found = {"ours": outcome(Ours(batch, side, half, 10)), "torch": outcome(peer)}
    return {
        f"{what}, {name}": max(
            distance(value, wanted[what][part]) for part, value in values.items()
        )
        for name, parts in found.items()
        for what, values in parts.items()
    }


def outcome(network: Any) -> dict[str, dict[str, np.ndarray]]:
    """The loss of one step, the weights and statistics after it, and answers then."""
    loss = {"": as_array(network.train())}
    state = network.model.state_dict()
    weights = {name: as_array(value) for name, value in state.items()}
    network.model.eval()
    return {"loss": loss, "weights": weights, "answers": {"": as_array(network.use())}}


def as_array(tensor: Any) -> np.ndarray:
    """The numbers of a tensor of either library."""
    import torch

    found = tensor.detach().cpu()
    # It gives NumPy no bfloat16.
    wide = found.double() if isinstance(found, torch.Tensor) else found
    array: np.ndarray = wide.numpy()
    return array.astype(np.float64)


def distance(found: Any, wanted: Any) -> float:
    """How far numbers are from others, as a part of their length."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


# --- time ----------------------------------------------------------------------------


def first_step(batch: int, side: int, half: bool, folder: str) -> dict[str, float]:
    """Seconds from the call of a step to its loss, in a fresh process."""
    environment = {**os.environ, "TETRAGRAD_CACHE": folder}
    command = [sys.executable, __file__, "--first", "--batch", str(batch)]
    command += ["--side", str(side)] + (["--half"] if half else [])
    printed = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    ).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def measure_first(batch: int, side: int, half: bool) -> dict[str, float]:
    """The first, the second and the third step of this process."""
    ours = Ours(batch, side, half, CLASSES)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        ours.train().item()
        seconds.append(time.perf_counter() - start)
    return dict(zip(("first", "second", "third"), seconds, strict=True))


def seconds_a_call(call: Callable[[], Any], wait: Callable[[], None]) -> list[float]:
    """Seconds of each of several calls, after some that do not count."""
    for _ in range(WARM_STEPS):
        call()
    wait()
    found = []
    for _ in range(STEPS):
        start = time.perf_counter()
        call()
        wait()
        found.append(time.perf_counter() - start)
    return found


def compare(batch: int, side: int, half: bool, compiled: bool) -> dict[str, Any]:
    """Milliseconds of a step and of inference, ours and PyTorch's."""
    import torch

    from tetragrad.engine.realize import device

    ours = Ours(batch, side, half, CLASSES)
    found: dict[str, Any] = {"batch": batch, "half": half}
    wait = device("cuda").synchronize
    for name, call in (("train", ours.train), ("use", ours.use)):
        if name == "use":
            ours.model.eval()
        found[f"ours {name}"] = 1e3 * statistics.median(seconds_a_call(call, wait))
        show(found)
    del ours
    for kind in ("eager", "compile") if compiled else ("eager",):
        theirs = Theirs(batch, side, half, CLASSES, "cuda")
        torch.backends.cudnn.benchmark = True
        if kind == "compile":
            theirs.compile()
        for name, call in (("train", theirs.train), ("use", theirs.use)):
            if name == "use":
                theirs.model.eval()
            seconds = seconds_a_call(call, torch.cuda.synchronize)
            found[f"{kind} {name}"] = 1e3 * statistics.median(seconds)
            show(found)
    return found


def show(found: dict[str, Any]) -> None:
    """What is known so far."""
    print(json.dumps(found), flush=True)


def main() -> None:
    """Check, or measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--side", type=int)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--compile", action="store_true", help="PyTorch's compiler too")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--prepare", default="", help="the assembler, without a GPU")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    usual = CHECKED if options.check else TIMED
    batch, side = options.batch or usual[0], options.side or usual[1]
    sizes = (batch, side, options.half)
    if options.check:
        show(check(*sizes, options.device))
        return
    if options.prepare:
        from benchmarks.h200_timing import Assembler

        Assembler.install(options.prepare)
    from tetragrad.core.settings import override

    with override(device=options.device):
        if options.first or options.prepare:
            show(measure_first(*sizes))
            return
        measure(sizes, options.compile, options.output)


def measure(sizes: tuple[int, int, bool], compiled: bool, output: Path | None) -> None:
    """First steps in processes of their own, then the time of a step."""
    from benchmarks.h200_timing import driver_version

    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "driver": driver_version(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            record[state] = first_step(*sizes, folder)
            show({state: record[state]})
    record["steps"] = compare(*sizes, compiled)
    if output is not None:
        output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
