"""Makes what servers and services prove themselves with: ``python -m keyferry.identities create --dir DIR``.

One folder: a seed for each service's NATS key and for the issuer of the nodes' rights; the server's list of who may do
what, which holds no secret; users of Redis or Valkey; and certificates of both servers, with the authority that vouches
for them. ``manifests`` prints the folder as ConfigMaps and Secrets, one for each who needs it, the authority's key for
nobody; ``renew`` makes certificates anew.
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

from keyferry import certificates, renewal
from keyferry.bus.nkeys import Nkey, Role
from keyferry.bus.permissions import ACCOUNT, CALLOUT, CALLOUT_ACCOUNT, SERVICES, Rights
from keyferry.store_users import STORE_USERS, acl_file

CALLOUT_KEY, ISSUER_KEY = "callout.nk", "issuer.nk"
AUTH, USERS = "auth.conf", "users.acl"
CA, CA_KEY, NATS_TLS, STORE_TLS = "ca.crt", "ca.key", "nats", "redis"
_REDIS_PORT = 6379
_PASSWORD_BYTES = 24

_TEMPLATE = """\
# Made by `python -m keyferry.identities create`: public keys and what each may do. The keys themselves are elsewhere.
accounts {{
  {account} {{
    jetstream: enabled
    users: [
{users}
    ]
  }}
  {callout_account} {{
    users: [
{callout}
    ]
  }}
  SYS {{}}
}}
system_account: SYS
authorization {{
  timeout: 5  # seconds, within which a fetcher must have looked at a node's token
  auth_callout {{
    issuer: {issuer}
    account: {callout_account}
    auth_users: {auth_users}
  }}
}}
"""


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
    services, callout = {name: Nkey.generate(Role.USER) for name in SERVICES}, Nkey.generate(Role.USER)
    issuer = Nkey.generate(Role.ACCOUNT)
    for file, key in {**{f"{name}.nk": key for name, key in services.items()}, CALLOUT_KEY: callout}.items():
        _write(directory / file, key.seed)
    _write(directory / ISSUER_KEY, issuer.seed)
    _begin(directory, {NATS_TLS: nats_hosts, STORE_TLS: redis_hosts}, time.time() if now is None else now)
    passwords = {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in STORE_USERS}
    for user, password in passwords.items():
        _write(directory / f"{user}.redis-url", f"rediss://{user}:{password}@{redis_hosts[0]}:{_REDIS_PORT}/0")
    _write(directory / USERS, acl_file(passwords))
    public = {name: key.public for name, key in services.items()}
    _write(directory / AUTH, server_config(public, callout=callout.public, issuer=issuer.public), mode=0o644)


def server_config(public: dict[str, str], *, callout: str, issuer: str) -> str:
    """What nats-server includes in its configuration.

    Args:
        public: Service to its public key.
        callout: Public key of the fetchers' connection that answers for nodes.
        issuer: Public key that the nodes' rights are signed with.
    """
    return _TEMPLATE.format(
        account=ACCOUNT,
        callout_account=CALLOUT_ACCOUNT,
        users="\n".join(_user(name, public[name], rights) for name, rights in SERVICES.items()),
        callout=_user("callout", callout, CALLOUT),
        issuer=issuer,
        auth_users=json.dumps([*public.values(), callout]),
    )


def _user(name: str, key: str, rights: Rights) -> str:
    def listed(subjects: tuple[str, ...]) -> str:
        return "".join(f"\n          {json.dumps(subject)}" for subject in subjects)

    return f"""\
      {{  # {name}
        nkey: {key}
        allowed_connection_types: ["STANDARD"]
        permissions {{
          publish {{ allow: [{listed(rights.publish)}
          ] }}
          subscribe {{ allow: [{listed(rights.subscribe)}
          ] }}
        }}
      }}"""


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
    for action in (making, showing, renewing):
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
            changed = renew(asked.dir, now=now, since=now if asked.all else 0.0)
            sys.stdout.write("".join(f"{name}\n" for name in changed))
        else:
            sys.stdout.write(json.dumps(manifests(asked.dir, asked.namespace), indent=1) + "\n")
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"keyferry.identities: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
