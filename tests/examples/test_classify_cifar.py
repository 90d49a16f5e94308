"""ResNet-20 on 1,000 real images: 99.9 % are recognised."""

from __future__ import annotations

import pytest

from examples import classify_cifar
from tests.examples.data_folder import needs_data
from tetragrad.data import cifar10

pytestmark = needs_data


def test_recognises_999_of_1000() -> None:
    images, labels = cifar10()
    answers = classify_cifar.classify(classify_cifar.load_resnet(), images)
    assert (answers == labels).sum() == 999


def test_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["classify_cifar.py", "--count", "100"])
    classify_cifar.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image 0: frog"
    assert lines[-1] == "100 of 100 correct: 100.0%"
