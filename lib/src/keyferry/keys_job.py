"""Makes the keys and identities of a cluster that has none (`python -m keyferry.keys_job`), before the chart installs.

Keys are made once and never changed; certificates are `keyferry.certificates_job`'s. What follows from keys (public
halves, who may do what on the bus and in the store) is computed from those that are really there, and written wherever
it differs: however often this is cut off, started again or upgraded, what is in the cluster fits together.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from keyferry import certificates_job, identities, keymaking, keys
from keyferry.bus.auth_conf import server_config
from keyferry.bus.nkeys import Nkey, Role
from keyferry.bus.permissions import SERVICES
from keyferry.errors import InternalError
from keyferry.kube import Json, Kube, Rejected, connect
from keyferry.store_users import STORE_USERS, acl_file

_CONFLICT = 409
_FOLLOWS = ("keyferry-public-keys", "keyferry-nats-auth", "keyferry-redis-users")
_CERTIFIED = ("keyferry-nats-tls", "keyferry-redis-tls", "keyferry-ca")

Held = dict[str, dict[str, str]]  # object to file to text


async def ensure(
    kube: Kube, namespace: str, servers: Sequence[certificates_job.Server], *, now: float, since: float = 0.0
) -> None:
    """Make what is missing.

    Args:
        kube: The API server, for an account that may create Secrets and ConfigMaps, and get and update those it makes.
        namespace: Where the services run.
        servers: NATS and Valkey; clients are told the first of Valkey's hosts.
        now: Unix seconds.
        since: Certificates that were made before are made anew; Unix seconds.

    Raises:
        KeyferryError: the API server cannot be reached, or refuses.
        ValueError, KeyError: a Secret that is there already holds something else.
    """
    wanted = _fresh(namespace, {each.name: list(each.hosts) for each in servers})
    held = {name: await _kept(kube, manifest) for name, manifest in wanted.items() if name not in _FOLLOWS}
    following = {
        "keyferry-public-keys": {keys.PUBLIC: json.dumps(_public_halves(held), indent=1)},
        "keyferry-nats-auth": {identities.AUTH: _server_config(held)},
        "keyferry-redis-users": {identities.USERS: acl_file(_passwords(held))},
    }
    for name, files in following.items():
        await _followed(kube, wanted[name], files)
    await certificates_job.ensure(kube, namespace, servers, now=now, since=since)


def _fresh(namespace: str, hosts: dict[str, list[str]]) -> dict[str, Json]:
    """New ones of everything but certificates, by name: of those that are there already nothing is used."""
    with TemporaryDirectory() as folder:
        key_sets, others = Path(folder) / "keys", Path(folder) / "identities"
        keymaking.create(key_sets)
        identities.create(others, nats_hosts=hosts["nats"], redis_hosts=hosts["redis"])
        items = [*keymaking.manifests(key_sets, namespace)["items"], *identities.manifests(others, namespace)["items"]]
    made: dict[str, Json] = {each["metadata"]["name"]: each for each in items}
    return {name: each for name, each in made.items() if name not in _CERTIFIED}


async def _kept(kube: Kube, manifest: Json) -> dict[str, str]:
    """What a Secret holds: ours if there was none, else what was there."""
    try:
        made = await kube.post(_path(manifest), manifest)
    except Rejected as error:
        if error.status != _CONFLICT:
            raise
        made = await kube.get(f"{_path(manifest)}/{manifest['metadata']['name']}")
    if made is None:
        raise InternalError(f"there is no namespace {manifest['metadata']['namespace']}, or a Secret was just deleted")
    return {file: base64.b64decode(text).decode() for file, text in made["data"].items()}


async def _followed(kube: Kube, manifest: Json, files: dict[str, str]) -> None:
    """Have an object hold these files."""
    manifest["stringData" if manifest["kind"] == "Secret" else "data"] = files
    try:
        await kube.post(_path(manifest), manifest)
    except Rejected as error:
        if error.status != _CONFLICT:
            raise
        await kube.call("PUT", f"{_path(manifest)}/{manifest['metadata']['name']}", body=manifest)


def _path(manifest: Json) -> str:
    return f"/api/v1/namespaces/{manifest['metadata']['namespace']}/{manifest['kind'].lower()}s"


def _public_halves(held: Held) -> Json:
    private = keys.FetcherKeys.parse(json.loads(held["keyferry-fetcher-keys"][keys.FETCHER]))
    syncer = keys.SyncerKeys.parse(json.loads(held["keyferry-syncer-keys"][keys.SYNCER]))

    def listed(entries: Any) -> list[Json]:
        return [
            {"id": key_id, "active_from": active_from, "public": base64.b64encode(public).decode()}
            for key_id, active_from, public in entries
        ]

    return {
        "fetcher": listed((i, at, key.recipient.raw) for i, at, key in private.opening.entries),
        "signing": listed((i, at, key.key.public_key().public_bytes_raw()) for i, at, key in private.signing.entries),
        "syncer": listed((i, at, key.recipient.raw) for i, at, key in syncer.opening.entries),
    }


def _server_config(held: Held) -> str:
    def public(service: str, file: str, role: Role) -> str:
        return Nkey.from_seed(held[f"keyferry-{service}-identity"][file], role).public

    return server_config(
        {name: public(name, "nats.nk", Role.USER) for name in SERVICES},
        callout=public("fetcher", identities.CALLOUT_KEY, Role.USER),
        issuer=public("fetcher", identities.ISSUER_KEY, Role.ACCOUNT),
    )


def _passwords(held: Held) -> dict[str, str]:
    return {user: urlsplit(held[f"keyferry-{user}-identity"]["redis-url"]).password or "" for user in STORE_USERS}


async def _run(asked: argparse.Namespace) -> None:
    async with connect(asked.kubeconfig, user_agent="keyferry-keys") as kube:
        servers = certificates_job.servers(asked)
        await ensure(kube, asked.namespace, servers, now=time.time(), since=asked.since)


def main(arguments: list[str] | None = None) -> int:
    """Run the step; the exit status is 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="keyferry.keys_job", description="Makes keys and identities where none are.")
    certificates_job.arguments(parser)
    asked = parser.parse_args(arguments)
    return certificates_job.ended("keyferry.keys_job", _run(asked))


if __name__ == "__main__":
    sys.exit(main())
