"""Names of devices, and where tensors live when nobody says."""

from __future__ import annotations

import pickle

import pytest

import tetragrad as tg
from tetragrad.backends import backend
from tetragrad.backends.cuda import driver
from tetragrad.core import settings as core
from tetragrad.core.errors import DeviceError


def test_a_device_is_a_text_that_knows_its_parts() -> None:
    place = tg.device("cuda:2")
    assert (place, place.type, place.index) == ("cuda:2", "cuda", 2)
    assert tg.device(1) == "cuda:1"
    assert tg.device("cuda", 0) == tg.device("cuda:0") == "cuda"
    assert tg.device(place) == place
    assert pickle.loads(pickle.dumps(place)) == place


def test_a_tensor_says_the_kind_of_its_device() -> None:
    assert tg.ones(1).device.type == "cpu"
    assert tg.nn.Linear(2, 1).to(tg.device("cpu")).weight.device.index is None


def test_new_tensors_live_where_a_block_says() -> None:
    with tg.device("reference"):
        assert tg.ones(1).device == "reference"
        with tg.device("cpu"):
            assert tg.ones(1).device == "cpu"
        assert tg.get_default_device() == "reference"
    assert tg.get_default_device() == "cpu"


def test_the_default_device_may_be_another() -> None:
    try:
        tg.set_default_device("reference")
        assert tg.ones(1).device == "reference"
    finally:
        tg.set_default_device("cpu")
    with pytest.raises(DeviceError, match="there is no device 'gpu'"):
        tg.set_default_device("gpu")


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (9, 0), (10, 0)])
def test_a_gpu_is_the_default_if_there_is_code_for_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(driver, "count_devices", lambda: 1)
    monkeypatch.setattr(driver, "capability_of", lambda number: capability)
    found = "cuda" if capability >= (8, 0) else "cpu"
    assert backend.usual_device() == found
    assert tg.cuda.device_count() == (found == "cuda")
    monkeypatch.setattr(core, "_process_settings", None)
    monkeypatch.delenv("TETRAGRAD_DEVICE")
    assert core.settings().device == found
    monkeypatch.setattr(core, "_process_settings", None)
    monkeypatch.setenv("TETRAGRAD_DEVICE", "reference")
    assert core.settings().device == "reference"


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "opened_library", lambda: None)
    assert not tg.cuda.is_available()
    tg.cuda.empty_cache()
    with pytest.raises(DeviceError, match="asked about the device 'cpu'"):
        tg.cuda.memory_allocated("cpu")
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        tg.cuda.synchronize()
