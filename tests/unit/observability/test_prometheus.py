"""How tests come by a Prometheus, and that they do not pass without one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from keyferry.testing.prometheus import PrometheusMissing, binaries


def test_it_is_there() -> None:
    """On this machine there is one, found or fetched, and it runs."""
    found = binaries()
    said = subprocess.run([found.promtool, "--version"], capture_output=True, text=True, check=True)

    assert said.stdout.startswith("promtool, version ")
    assert found.prometheus.exists()


def test_what_was_fetched_is_used_again(tmp_path: Path) -> None:
    """What is in the cache needs no network, and is looked at before it is trusted."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    for name in ("prometheus", "promtool"):
        (folder / name).write_text("#!/bin/sh\nexit 0\n")
        (folder / name).chmod(0o755)

    assert binaries(tmp_path, path="").promtool == folder / "promtool"


def test_none_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apt and without Prometheus the test fails with what to do; it is not skipped."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PrometheusMissing, match="put prometheus and promtool on PATH"):
        binaries(tmp_path)
