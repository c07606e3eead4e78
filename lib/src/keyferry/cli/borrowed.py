"""The CA, key and password of an identity, read where the chart keeps them: the cluster's own Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

from keyferry.cli.lacking import Lacking
from keyferry.errors import KeyferryError
from keyferry.kube import Json, Kube, object_path

NATS_URL, REDIS_URL = "tls://127.0.0.1:4222", "rediss://127.0.0.1:6379/0"
"""Where `kubectl port-forward` puts the chart's servers."""

_CA = "keyferry-ca"


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What proves an identity; gone when the command ends.

    Attributes:
        ca_file: PEM file of those who vouch for NATS and Redis.
        seed: Of its NATS key.
        user, password: Its user of Redis, and the password; empty if it has none.
    """

    ca_file: str
    seed: str = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    def at(self, redis_url: str) -> str:
        """A URL of Redis with this user and password, unless it has others."""
        parts = urlsplit(redis_url)
        if parts.password or not self.user:
            return redis_url
        return urlunsplit(parts._replace(netloc=f"{self.user}:{self.password}@{parts.netloc.rpartition('@')[2]}"))


@asynccontextmanager
async def borrow(kube: Kube, namespace: str, identity: str) -> AsyncIterator[Borrowed]:
    """Read an identity.

    Args:
        kube: The cluster, for somebody who may get this Secret and the ConfigMap ``keyferry-ca`` (docs/rbac.md).
        namespace: Where Keyferry runs.
        identity: Such as ``cli``.

    Raises:
        Lacking: there is none, or it may not be read.
    """
    secret = f"keyferry-{identity}-identity"
    held, trusted = await _read(kube, namespace, "Secret", secret), await _read(kube, namespace, "ConfigMap", _CA)
    try:
        files = {name: base64.b64decode(text).decode() for name, text in (held.get("data") or {}).items()}
        seed, authority = files["nats.nk"], trusted["data"]["ca.crt"]
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise Lacking(f"Secret {namespace}/{secret} or ConfigMap {_CA} holds no identity of Keyferry's") from None
    url = urlsplit(files.get("redis-url", ""))
    with TemporaryDirectory(prefix="keyferry-") as folder:  # nothing secret: libraries take CAs as files
        ca_file = Path(folder) / "ca.crt"
        ca_file.write_text(authority)
        yield Borrowed(str(ca_file), seed, url.username or "", url.password or "")


async def _read(kube: Kube, namespace: str, kind: str, name: str) -> Json:
    path = object_path(f"/api/v1/{kind.lower()}s", namespace, name)
    try:
        told = await kube.get(path) if path else None
    except KeyferryError as error:
        raise Lacking(f"{error.message}\n  docs/rbac.md lists what --from-cluster takes") from None
    if told is None:
        raise Lacking(
            f"there is no {kind} {namespace}/{name}\n  --system-namespace says where Keyferry runs; "
            "the chart makes it (`helm upgrade`), unless keys.create is off"
        )
    return told
