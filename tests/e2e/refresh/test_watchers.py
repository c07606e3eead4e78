"""Programs that watch their secrets see them change: the guide's own example, as it stands there."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.refresh.conftest import Shop

pytestmark = pytest.mark.root

STUB = """
def connect_to_db(password):
    print(f"connected with {password}", flush=True)

"""

EXAMPLE = """
# example-app.py
import os
import time
from watchdog.observers import Observer
from watchdog.events import FileSystemEventHandler

class SecretChangeHandler(FileSystemEventHandler):
    def on_modified(self, event):
        if event.src_path.endswith('/db-password'):
            print("Database password changed, reloading...")
            reload_db_connection()

def reload_db_connection():
    with open('/mnt/secrets/db-password', 'r') as f:
        new_password = f.read().strip()
    # Reconnect to database with new password
    global db_connection
    db_connection = connect_to_db(password=new_password)

# Watch secrets directory for changes
observer = Observer()
observer.schedule(SecretChangeHandler(), path='/mnt/secrets', recursive=False)
observer.start()

try:
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    observer.stop()
observer.join()
"""


async def test_example_of_the_guide(shop: Shop) -> None:
    """The guide's program reconnects with the new password, once for each change of its file, and for no other's."""
    pytest.importorskip("watchdog", reason="the guide's example needs watchdog: add it to the dev dependencies")
    await shop.world.vault_class("guide", "db-password=db:password", "api-token=db:user", vaultAddress=shop.proxy.url)
    _, target, volume = await shop.mount("guide")
    script = STUB + EXAMPLE.replace("/mnt/secrets", str(target)).replace(
        "observer.start()", 'observer.start(); print("watching", flush=True)'
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", script, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert program.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await program.stdout.readline() == b"watching\n"
            for values in ({"password": "lion", "user": "app"}, {"password": "lion", "user": "other"}):
                await shop.rotate(**values)
                await shop.rotator.refresh(volume)
            await shop.rotate(password="panther", user="other")
            await shop.rotator.refresh(volume)
            said = [(await program.stdout.readline()).decode() for _ in range(4)]
    finally:
        program.kill()
        await program.wait()

    reloading = "Database password changed, reloading...\n"
    assert said == [reloading, "connected with lion\n", reloading, "connected with panther\n"]
    assert (Path(target) / "api-token").read_text() == "other"
