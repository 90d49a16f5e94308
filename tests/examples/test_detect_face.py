"""BlazeFace finds the astronaut, and computes what PyTorch computes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from examples import detect_face
from tests.examples.data_folder import needs_data
from tetragrad import Tensor, no_grad
from tetragrad.data import image, read_data_file

EYES = [(204, 100), (247, 101)]


@needs_data
def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "faces.png"
    command = ["detect_face.py", "img/astronaut.png", "--output", str(output)]
    monkeypatch.setattr("sys.argv", command)
    detect_face.main()
    printed = capsys.readouterr().out
    assert printed == "a face at [175, 79, 277, 180]: 99% sure\n"
    assert image(output).shape == (512, 512, 3)


@needs_data
def test_box_is_around_the_eyes() -> None:
    faces = detect_face.find_faces(image("img/astronaut.png"))
    assert len(faces) == 1
    left, top, right, bottom = faces[0][1]
    for across, down in EYES:
        assert left < across < right
        assert top < down < bottom


@needs_data
def test_no_face_in_a_cup() -> None:
    assert detect_face.find_faces(image("img/coffee.png")) == []


@needs_data
def test_every_number_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    stored = torch.load(io.BytesIO(read_data_file(detect_face.WEIGHTS)))
    weights = {name: value.double() for name, value in stored.items()}
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 3, 128, 128))
    with no_grad():
        boxes, scores = detect_face.load_blazeface()(Tensor(photos).float())
    expected_boxes, expected_scores = reference(torch, torch.tensor(photos), weights)
    np.testing.assert_allclose(boxes.numpy(), expected_boxes, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores.numpy(), expected_scores, atol=1e-5)


def reference(torch: Any, x: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
    """The network from the names and shapes in its file, in float64."""
    functional = torch.nn.functional

    def convolve(x: Any, name: str, **options: Any) -> Any:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.conv2d(x, weight, bias, **options)

    def maps(kind: str, fine: Any, coarse: Any, numbers: int) -> Any:
        both = convolve(fine, f"{kind}_8"), convolve(coarse, f"{kind}_16")
        parts = [entry.permute(0, 2, 3, 1).reshape(2, -1, numbers) for entry in both]
        return torch.cat(parts, dim=1)

    x = functional.pad(x, (1, 2, 1, 2))
    x = convolve(x, "backbone1.0", stride=2).relu()
    names = [f"backbone1.{number}" for number in range(2, 13)]
    names += [f"backbone2.{number}" for number in range(5)]
    for name in names:
        halves = name in ("backbone1.4", "backbone1.7", "backbone2.0")
        if name == "backbone2.0":
            fine = x
        kept = functional.max_pool2d(x, 2) if halves else x
        end = 2 if halves else 1
        x = functional.pad(x, (2 - end, end, 2 - end, end))
        x = convolve(x, f"{name}.convs.0", stride=end, groups=x.shape[1])
        x = convolve(x, f"{name}.convs.1")
        x[:, : kept.shape[1]] += kept
        x = x.relu()
    scores = maps("classifier", fine, x, 1).sigmoid().squeeze(-1)
    return maps("regressor", fine, x, 16).numpy(), scores.numpy()


def test_overlap() -> None:
    box = np.array([0.0, 0.0, 2.0, 2.0])
    assert detect_face.overlap(box, box) == 1.0
    assert detect_face.overlap(box, box + 1) == pytest.approx(1 / 7)
    assert detect_face.overlap(box, box + 3) == 0.0
