"""A real nats-server with JetStream, for tests, the demo and the benches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server, installed, logged, server

MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes; what the deployed server allows (design, section 4)."""

_CONFIG = """\
listen: "127.0.0.1:{port}"
server_name: "{name}"
max_payload: {max_payload}
jetstream {{
  store_dir: "{store}"
  max_memory_store: 1GB
  max_file_store: 4GB
}}
{extra}
"""


DEPLOYED = Path(__file__).parents[4] / "deploy" / "nats" / "nats.conf"
"""The configuration that is deployed."""


@dataclass(frozen=True)
class Nats:
    """A running nats-server; `process` restarts, pauses or kills it."""

    process: Server
    url: str
    """Where clients connect, without credentials: `nats://127.0.0.1:PORT`, `tls://` where it has identities."""
    config: Path
    """Its configuration file, read again by `process.restart()`."""
    store: Path
    """JetStream's folder; survives restarts."""


@contextmanager
def nats_server(
    directory: Path, *, port: int | None = None, max_payload: int = MAX_PAYLOAD, extra: str = ""
) -> Iterator[Nats]:
    """Run nats-server with JetStream on loopback, without HTTP monitoring.

    Started again with the same `directory` and `port` it has the streams it had before.

    Args:
        directory: Holds its configuration, log and JetStream store.
        port: Where it listens; a free one by default.
        max_payload: Largest message in bytes.
        extra: More configuration text (users, permissions, TLS), appended as it is.

    Raises:
        ServerError: If it does not come up, for example because `extra` is wrong.
    """
    port = port or free_port()
    config, store = directory / "nats.conf", directory / "jetstream"
    directory.mkdir(parents=True, exist_ok=True)
    config.write_text(
        _CONFIG.format(port=port, name=f"test-{os.getpid()}-{port}", max_payload=max_payload, store=store, extra=extra)
    )
    with server(
        [installed("nats-server"), "-c", config],
        name="nats-server",
        log=directory / "nats.log",
        ready=logged("Server is ready"),
    ) as process:
        yield Nats(process, f"nats://127.0.0.1:{port}", config, store)


@contextmanager
def guarded_nats_server(directory: Path, identities: Path, *, port: int | None = None) -> Iterator[Nats]:
    """Run nats-server on loopback as it is deployed: TLS, identities, and fetchers who are asked about nodes.

    Args:
        directory: Holds its configuration, log and JetStream store.
        identities: What `keyferry.identities.create` made for 127.0.0.1.
        port: Where it listens; a free one by default.

    Raises:
        ServerError: If it does not come up.
    """
    port = port or free_port()
    config, store = directory / "nats.conf", directory / "jetstream"
    directory.mkdir(parents=True, exist_ok=True)
    text = DEPLOYED.read_text()
    for deployed, here in (
        ("port: 4222", f'listen: "127.0.0.1:{port}"'),
        ("$SERVER_NAME", f"test-{os.getpid()}-{port}"),
        ("/etc/keyferry-nats/tls/tls.", f"{identities}/nats."),
        ('"auth/auth.conf"', f'"{os.path.relpath(identities / "auth.conf", directory)}"'),
        ('"/data"', f'"{store}"'),
    ):
        text = text.replace(deployed, here)
    config.write_text(text)
    argv: list[str | Path] = [installed("nats-server"), "-c", config]
    with server(argv, name="nats-server", log=directory / "nats.log", ready=logged("Server is ready")) as process:
        yield Nats(process, f"tls://127.0.0.1:{port}", config, store)
