"""Makes what servers and services prove themselves with: ``python -m keyferry.identities create --dir DIR``.

One folder: a seed for each service's NATS key and for the issuer of the nodes' rights; the server's list of who may do
what, which holds no secret; users of Redis or Valkey; and certificates of both servers, with the authority that vouches
for them. ``manifests`` prints the folder as ConfigMaps and Secrets, one for each who needs it, the authority's key for
nobody; ``renew`` makes certificates anew, ``update`` brings a folder of an older version up to this one.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyferry import certificates, renewal
from keyferry.bus.auth_conf import server_config
from keyferry.bus.nkeys import Nkey, Role
from keyferry.bus.permissions import SERVICES
from keyferry.store_users import STORE_USERS, acl_file

CALLOUT_KEY, ISSUER_KEY = "callout.nk", "issuer.nk"
AUTH, USERS = "auth.conf", "users.acl"
CA, CA_KEY, NATS_TLS, STORE_TLS = "ca.crt", "ca.key", "nats", "redis"
_REDIS_PORT = 6379
_PASSWORD_BYTES = 24


def create(directory: Path, *, nats_hosts: list[str], redis_hosts: list[str], now: float | None = None) -> None:
    """Make everything.

    Args:
        directory: Where to.
        nats_hosts: Names and addresses that clients reach NATS by.
        redis_hosts: Of Redis or Valkey; the first is what clients are told.
        now: Unix seconds; the clock's where not given.

    Raises:
        FileExistsError: there is a set already; to make another would cut everybody off.
    """
    if (directory / AUTH).exists():
        raise FileExistsError(f"{directory} holds identities already: make new ones in another folder")
    directory.mkdir(parents=True, exist_ok=True)
    _begin(directory, {NATS_TLS: nats_hosts, STORE_TLS: redis_hosts}, time.time() if now is None else now)
    update(directory, redis_at=f"{redis_hosts[0]}:{_REDIS_PORT}")


def update(directory: Path, *, redis_at: str = "") -> list[str]:
    """Make the identities of this version that are missing, and what follows from all: who may do what.

    Args:
        directory: What `create` made, of this version or an older one.
        redis_at: Host and port of Redis or Valkey; the fetchers' where not given.

    Returns:
        The names of the files that are new or have changed.

    Raises:
        OSError, ValueError: the folder holds something else.
    """
    before = {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}
    services = {name: _key(directory, f"{name}.nk", Role.USER).public for name in SERVICES}
    callout, issuer = _key(directory, CALLOUT_KEY, Role.USER), _key(directory, ISSUER_KEY, Role.ACCOUNT)
    redis_at = redis_at or urlsplit((directory / "fetcher.redis-url").read_text()).netloc.rpartition("@")[2]
    users = acl_file({user: _password(directory, user, redis_at) for user in STORE_USERS})
    if before.get(USERS) != users:
        _write(directory / USERS, users)
    auth = server_config(services, callout=callout.public, issuer=issuer.public)
    if before.get(AUTH) != auth:
        _write(directory / AUTH, auth, mode=0o644)
    after = {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}
    return sorted(name for name in after if after[name] != before.get(name))


def _key(directory: Path, file: str, role: Role) -> Nkey:
    if not (directory / file).exists():
        _write(directory / file, Nkey.generate(role).seed)
    return Nkey.from_seed((directory / file).read_text(), role)


def _password(directory: Path, user: str, redis_at: str) -> str:
    file = directory / f"{user}.redis-url"
    if not file.exists():
        _write(file, f"rediss://{user}:{secrets.token_urlsafe(_PASSWORD_BYTES)}@{redis_at}/0")
    return urlsplit(file.read_text()).password or ""


def renew(directory: Path, *, now: float, since: float = 0.0) -> list[str]:
    """Make certificates anew whose end is near, by the folder's authority or by a new one that is trusted beside it.

    Args:
        directory: What `create` made.
        now: Unix seconds.
        since: Those that were made before are made anew as well; Unix seconds.

    Returns:
        The names of the files that have changed.

    Raises:
        OSError, ValueError: the folder holds something else.
    """
    trusted, key = (directory / CA).read_text(), directory / CA_KEY
    kept = certificates.Authority.load(certificates.first(trusted), key.read_text()) if key.exists() else None
    authority = renewal.authority_for(kept, now)
    changed = []
    if authority is not kept:
        _write(directory / CA, certificates.bundle(now, authority.pem, trusted), mode=0o644)
        _write(key, authority.key_pem)
        changed = [CA, CA_KEY]
    for name in (NATS_TLS, STORE_TLS):
        found = renewal.Served(*((directory / f"{name}.{part}").read_text() for part in ("crt", "key")))
        hosts = sorted(certificates.Certificate.parse(found.certificate).hosts)
        served = renewal.renewed(found, authority, hosts, now, since)
        if served != found:
            changed += _certify(directory, name, served)
    return changed


def _begin(directory: Path, hosts: dict[str, list[str]], now: float) -> None:
    authority = renewal.authority_for(None, now)
    _write(directory / CA, authority.pem, mode=0o644)
    _write(directory / CA_KEY, authority.key_pem)
    for name, reached_by in hosts.items():
        _certify(directory, name, renewal.renewed(None, authority, reached_by, now))


def _certify(directory: Path, name: str, served: renewal.Served) -> list[str]:
    _write(directory / f"{name}.crt", served.certificate, mode=0o644)
    _write(directory / f"{name}.key", served.key)
    return [f"{name}.crt", f"{name}.key"]


def _write(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file as a whole: whoever reads it meanwhile has the one before."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def manifests(directory: Path, namespace: str) -> dict[str, Any]:
    """The folder as a Kubernetes List, for ``kubectl apply -f -``: nobody gets more than is his."""
    read = {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}

    def listed(kind: str, name: str, files: dict[str, str], *, of_type: str = "") -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "keyferry"}}
        held = {"data" if kind == "ConfigMap" else "stringData": {key: read[file] for key, file in files.items()}}
        return {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": metadata,
            **({"type": of_type} if of_type else {}),
            **held,
        }

    def tls(name: str) -> dict[str, Any]:
        files = {"tls.crt": f"{name}.crt", "tls.key": f"{name}.key"}
        return listed("Secret", f"keyferry-{name}-tls", files, of_type="kubernetes.io/tls")

    def service(name: str) -> dict[str, Any]:
        files = {"nats.nk": f"{name}.nk"}
        if name == "fetcher":
            files |= {CALLOUT_KEY: CALLOUT_KEY, ISSUER_KEY: ISSUER_KEY}
        if name in STORE_USERS:
            files["redis-url"] = f"{name}.redis-url"
        return listed("Secret", f"keyferry-{name}-identity", files)

    items = [
        *(service(name) for name in SERVICES),
        tls(NATS_TLS),
        tls(STORE_TLS),
        listed("Secret", "keyferry-redis-users", {USERS: USERS}),
        listed("ConfigMap", "keyferry-nats-auth", {AUTH: AUTH}),
        listed("ConfigMap", "keyferry-ca", {CA: CA}),
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; the exit status is 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m keyferry.identities", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    making = actions.add_parser("create", help="make keys, users and certificates")
    showing = actions.add_parser("manifests", help="print them as ConfigMaps and Secrets for `kubectl apply -f -`")
    renewing = actions.add_parser("renew", help="make certificates anew whose end is near; their files are named")
    updating = actions.add_parser("update", help="make what this version has and the folder lacks; files are named")
    for action in (making, showing, renewing, updating):
        action.add_argument("--dir", type=Path, required=True, help="their folder")
    making.add_argument("--nats-host", action="append", required=True, help="a name that NATS is reached by; repeat it")
    making.add_argument("--redis-host", action="append", required=True, help="a name of Redis or Valkey; repeat it")
    showing.add_argument("--namespace", default="kube-system", help="where the services run (kube-system)")
    renewing.add_argument("--all", action="store_true", help="all of them, whenever they end")
    asked = parser.parse_args(arguments)
    try:
        if asked.action == "create":
            create(asked.dir, nats_hosts=asked.nats_host, redis_hosts=asked.redis_host)
        elif asked.action == "renew":
            now = time.time()
            _name(renew(asked.dir, now=now, since=now if asked.all else 0.0))
        elif asked.action == "update":
            _name(update(asked.dir))
        else:
            sys.stdout.write(json.dumps(manifests(asked.dir, asked.namespace), indent=1) + "\n")
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"keyferry.identities: {error}\n")
        return 1
    return 0


def _name(files: list[str]) -> None:
    sys.stdout.write("".join(f"{name}\n" for name in files))


if __name__ == "__main__":
    sys.exit(main())
