"""Makes the key sets of a cluster that has none (`python -m keyferry.keys_job`), as the chart does before it installs.

What is there already is never changed. The private halves come first, and the public ones are computed from those that
are really there: however often this is cut off or started again, what is in the cluster fits together.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keyferry import keys
from keyferry.errors import KeyferryError
from keyferry.kube import Json, Kube, Rejected, connect
from keyferry.settings import SettingsError

_CONFLICT = 409


async def ensure(kube: Kube, namespace: str, *, valkey: str = "") -> None:
    """Make what is missing.

    Args:
        kube: The API server, for an account that may create Secrets and ConfigMaps, and get those of these names.
        namespace: Where the services run.
        valkey: Name of the Service of a Valkey, and of the Secret with its password; none where empty.

    Raises:
        KeyFileError: the public keys that are there belong to other private ones.
        KeyferryError: the API server cannot be reached, or refuses.
    """
    with TemporaryDirectory() as folder:
        keys.create(Path(folder))
        fetcher, syncer, public = keys.manifests(Path(folder), namespace)["items"]
    held = [await _made_or_there(kube, each) for each in (fetcher, syncer)]
    files = zip(held, (keys.FETCHER, keys.SYNCER), strict=True)
    wanted = _public_halves(*(json.loads(base64.b64decode(secret["data"][file])) for secret, file in files))
    public["data"][keys.PUBLIC] = json.dumps(wanted, indent=1)
    if json.loads((await _made_or_there(kube, public))["data"][keys.PUBLIC]) != wanted:
        raise keys.KeyFileError(
            f"the ConfigMap {public['metadata']['name']} does not belong to the Secrets with the private keys: "
            "delete it and it is made anew"
        )
    if valkey:
        await _made_or_there(kube, _valkey_secret(namespace, valkey))


async def _made_or_there(kube: Kube, manifest: Json) -> Json:
    """The object, as the API server has it after we have tried to make it."""
    metadata = manifest["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/{manifest['kind'].lower()}s"
    try:
        made = await kube.post(path, manifest)
    except Rejected as error:
        if error.status != _CONFLICT:
            raise
        made = await kube.get(f"{path}/{metadata['name']}")
    if made is None:
        raise keys.KeyFileError(f"there is no namespace {metadata['namespace']}, or the object was deleted meanwhile")
    return made


def _public_halves(fetcher: Json, syncer: Json) -> Json:
    """What ``public.json`` says where the private files say this."""
    private, opening = keys.FetcherKeys.parse(fetcher), keys.SyncerKeys.parse(syncer).opening

    def listed(entries: Any) -> list[Json]:
        return [
            {"id": key_id, "active_from": active_from, "public": base64.b64encode(public).decode()}
            for key_id, active_from, public in entries
        ]

    return {
        "fetcher": listed((i, at, key.recipient.raw) for i, at, key in private.opening.entries),
        "signing": listed((i, at, key.key.public_key().public_bytes_raw()) for i, at, key in private.signing.entries),
        "syncer": listed((i, at, key.recipient.raw) for i, at, key in opening.entries),
    }


def _valkey_secret(namespace: str, name: str) -> Json:
    password = secrets.token_urlsafe(32)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "keyferry"}},
        "stringData": {
            "url": f"redis://:{password}@{name}.{namespace}.svc:6379/0",
            "auth.conf": f"requirepass {password}\n",
        },
    }


async def _run(asked: argparse.Namespace) -> None:
    async with connect(asked.kubeconfig, user_agent="keyferry-keys") as kube:
        await ensure(kube, asked.namespace, valkey=asked.valkey)


def main(arguments: list[str] | None = None) -> int:
    """Run the step; the exit status is 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="keyferry.keys_job", description="Makes the keys that are not there yet.")
    parser.add_argument("--namespace", required=True, help="where the services run")
    parser.add_argument("--valkey", default="", help="Service of a Valkey, and Secret for its password; none without")
    parser.add_argument("--kubeconfig", help="the pod's own service account without one")
    try:
        asyncio.run(_run(parser.parse_args(arguments)))
    except (KeyferryError, SettingsError, keys.KeyFileError, OSError) as error:
        sys.stderr.write(f"keyferry.keys_job: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
