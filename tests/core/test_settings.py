"""Settings: what the environment may say, and where caches are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tetragrad.core.errors import SettingError
from tetragrad.core.settings import (
    Settings,
    cache_folder,
    configure,
    from_environment,
    override,
    settings,
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is set."""
    for name in list(os.environ):
        if name.startswith("TETRAGRAD_") or name in ("DEBUG", "GRAPH"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_without_variables_there_are_defaults(environment: pytest.MonkeyPatch) -> None:
    assert from_environment() == Settings()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DEBUG", "2", "debug", 2),
        ("TETRAGRAD_THREADS", " 3 ", "threads", 3),
        ("TETRAGRAD_THREADS", "", "threads", 0),
        ("TETRAGRAD_DISK_CACHE", "0", "disk_cache", False),
        ("TETRAGRAD_DISK_CACHE", "Off", "disk_cache", False),
        ("GRAPH", "true", "graph", True),
        ("TETRAGRAD_CACHE", "/some/where", "cache", "/some/where"),
    ],
)
def test_variables_are_read(
    environment: pytest.MonkeyPatch, name: str, text: str, field: str, value: object
) -> None:
    environment.setenv(name, text)
    assert getattr(from_environment(), field) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("DEBUG", "yes", "DEBUG='yes' is not a whole number"),
        ("GRAPH", "2", "GRAPH='2' is not 1 or 0"),
        ("TETRAGRAD_JIT", "maybe", "TETRAGRAD_JIT='maybe' is not 1 or 0"),
        ("TETRAGRAD_THREADS", "-1", "TETRAGRAD_THREADS=-1 is not a value"),
        ("TETRAGRAD_VECTOR_BYTES", "7", "16, 32 or 64"),
        ("TETRAGRAD_THREDS", "1", "did you mean TETRAGRAD_THREADS?"),
    ],
)
def test_bad_variables_are_refused(
    environment: pytest.MonkeyPatch, name: str, text: str, message: str
) -> None:
    environment.setenv(name, text)
    with pytest.raises(SettingError) as caught:
        from_environment()
    assert message in str(caught.value)


def test_other_programs_may_have_variables(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TETRAGRAD_FRIENDS", "many")
    assert from_environment() == Settings()


def test_overrides_are_checked() -> None:
    with pytest.raises(SettingError, match="there is no setting 'thread'"):
        configure(thread=1)
    with pytest.raises(SettingError, match="debug='2' is not of type int"):
        configure(debug="2")
    with (
        pytest.raises(SettingError, match="threads=-2 is not a value"),
        override(threads=-2),
    ):
        pass
    before = settings()
    with override(debug=2):
        assert settings().debug == 2
    assert settings() is before


def test_the_cache_is_in_the_users_cache_folder(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr("sys.platform", "linux")
    environment.setenv("HOME", str(tmp_path))
    environment.delenv("XDG_CACHE_HOME", raising=False)
    with override(cache=""):
        assert cache_folder() == tmp_path / ".cache" / "tetragrad"
        environment.setenv("XDG_CACHE_HOME", "relative")
        assert cache_folder() == tmp_path / ".cache" / "tetragrad"
        environment.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
        assert cache_folder() == tmp_path / "kept" / "tetragrad"
    with override(cache=str(tmp_path / "own")):
        assert cache_folder() == tmp_path / "own"


def test_without_a_home_there_is_no_cache(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(os.path, "expanduser", lambda path: path)
    with override(cache=""), pytest.raises(OSError, match=r".+"):
        (cache_folder() / "kernels").mkdir(parents=True)


def test_a_switch_is_no_folder(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TETRAGRAD_CACHE", "0")
    with pytest.raises(SettingError, match="TETRAGRAD_DISK_CACHE=0 keeps nothing"):
        from_environment()
