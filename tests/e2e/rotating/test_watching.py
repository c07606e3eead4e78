"""The watcher of the other tests here sees what a pod should never see."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.rotating.watching import Watcher


def hold(target: Path, password: str, user: str) -> None:
    """Switch a volume as kubelet's writers do."""
    folder = target / f"..{password}{user}"
    folder.mkdir()
    (folder / "password").write_text(password)
    (folder / "user").write_text(user)
    (target / "..tmp").symlink_to(folder.name)
    (target / "..tmp").rename(target / "..data")


async def looked(watcher: Watcher) -> None:
    """Let it read all volumes twice from here on."""
    before = watcher.looks
    async with asyncio.timeout(20):
        while watcher.looks < before + 2:  # noqa: ASYNC110 - it is a thread
            await asyncio.sleep(0.01)


async def test_half_a_secret_an_older_one_and_none_are_seen(tmp_path: Path) -> None:
    """Each is noted once, and what is as it should be is not."""
    hold(tmp_path, "v1", "v1")
    async with Watcher([tmp_path]) as watcher:
        await looked(watcher)
        hold(tmp_path, "v3", "v3")
        await looked(watcher)
        assert watcher.problems == []
        hold(tmp_path, "v3", "v2")
        await looked(watcher)
        hold(tmp_path, "v2", "v2")
        await looked(watcher)
        (tmp_path / "..data").unlink()
        await looked(watcher)

    assert [problem.removeprefix(str(tmp_path)) for problem in watcher.problems] == [
        " holds ['v2', 'v3']",
        " went back from v3 to v2",
        " holds nothing",
    ]
