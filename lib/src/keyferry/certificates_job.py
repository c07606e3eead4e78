"""Keeps the servers' certificates good (`python -m keyferry.certificates_job`): at each upgrade, and by a CronJob.

Whom to trust is published first, what servers prove themselves with follows, and servers restart with it, one by one.
However often this is cut off and started again, clients trust the servers that they meet.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from keyferry.certificates import Authority, Certificate, bundle
from keyferry.errors import InternalError, KeyferryError
from keyferry.kube import Json, Kube, connect
from keyferry.renewal import Served, authority_for, renewed
from keyferry.settings import SettingsError

AUTHORITY, TRUST = "keyferry-authority", "keyferry-ca"
CA, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
ANNOTATION = "keyferry.io/certificate"
_LABELS = {"app.kubernetes.io/part-of": "keyferry"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that proves itself.

    Attributes:
        name: ``nats`` or ``redis``; its Secret is ``keyferry-NAME-tls``.
        hosts: Names and addresses that it is reached by.
        workload: What restarts with another certificate, such as ``statefulsets/x``; empty for nothing.
        trusts: Whether it must also restart when there is another authority to be trusted.
    """

    name: str
    hosts: tuple[str, ...]
    workload: str = ""
    trusts: bool = False

    @property
    def secret(self) -> str:
        """The name of its Secret."""
        return f"keyferry-{self.name}-tls"


async def ensure(kube: Kube, namespace: str, servers: Sequence[Server], *, now: float, since: float = 0.0) -> None:
    """Make what is missing, and anew what is not good any more.

    Args:
        kube: The API server, for an account that may get and update what is there.
        namespace: Where the servers run.
        servers: Those that prove themselves.
        now: Unix seconds.
        since: Certificates that were made before are made anew; Unix seconds.

    Raises:
        KeyferryError: the API server cannot be reached, or refuses.
        ValueError, KeyError: a Secret that is there holds something else.
    """
    objects = _Objects(kube, namespace)
    held = await objects.read("secrets", AUTHORITY)
    authority = authority_for(Authority.load(held[CA], held[CA_KEY]) if held else None, now)
    found = {each.name: await objects.read("secrets", each.secret) for each in servers}
    if not held or held[CA] != authority.pem:
        await objects.write("secrets", AUTHORITY, {CA: authority.pem, CA_KEY: authority.key_pem}, is_new=not held)
    before = await objects.read("configmaps", TRUST)
    others = [each[CA] for each in found.values() if CA in each]
    trusted = bundle(now, authority.pem, *others, before.get(CA, ""))
    if before.get(CA) != trusted:
        await objects.write("configmaps", TRUST, {CA: trusted}, is_new=not before)
    for server in servers:
        files = found[server.name]
        kept = Served(files[CERTIFICATE], files[KEY]) if files else None
        served = renewed(kept, authority, list(server.hosts), now, since)
        if served != kept:
            made = {CERTIFICATE: served.certificate, KEY: served.key, CA: authority.pem}
            await objects.write("secrets", server.secret, made, is_new=not files)
        if server.workload:
            await objects.restart(server.workload, served, authority.pem, trusted if server.trusts else "")


class _Objects:
    """Secrets, ConfigMaps and workloads of a namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace

    async def read(self, plural: str, name: str) -> dict[str, str]:
        """What an object holds; nothing where there is none."""
        told = await self._kube.get(f"/api/v1/namespaces/{self._namespace}/{plural}/{name}") or {}
        data: Mapping[str, str] = told.get("data") or {}
        if plural == "configmaps":
            return dict(data)
        return {file: base64.b64decode(text).decode() for file, text in data.items()}

    async def write(self, plural: str, name: str, files: dict[str, str], *, is_new: bool) -> None:
        """Have an object hold these."""
        path = f"/api/v1/namespaces/{self._namespace}/{plural}"
        body: Json = {"metadata": {"name": name, "namespace": self._namespace, "labels": _LABELS}}
        body["data" if plural == "configmaps" else "stringData"] = files
        if CERTIFICATE in files:
            body["type"] = "kubernetes.io/tls"
        done = await (self._kube.post(path, body) if is_new else self._kube.call("PUT", f"{path}/{name}", body=body))
        if done is None:
            raise InternalError(f"there is no namespace {self._namespace}, or {name} was just deleted")

    async def restart(self, workload: str, served: Served, authority: str, trusted: str) -> None:
        """Have a workload's pods made anew if they began with another certificate."""
        plural, _, name = workload.partition("/")
        path = f"/apis/apps/v1/namespaces/{self._namespace}/{plural}/{name}"
        told = await self._kube.get(path)
        if told is None:  # not installed yet: it will begin with this one
            return
        digest = sha256(f"{served.certificate}{trusted}".encode()).hexdigest()[:16]
        marked = (told["spec"]["template"]["metadata"].get("annotations") or {}).get(ANNOTATION, "")
        newest = max(
            Certificate.parse(each).made_at for each in (served.certificate, *([authority] if trusted else []))
        )
        began = datetime.fromisoformat(told["metadata"]["creationTimestamp"]).timestamp()
        if marked == digest or (not marked and newest <= began):
            return
        body = {"spec": {"template": {"metadata": {"annotations": {ANNOTATION: digest}}}}}
        await self._kube.call("PATCH", path, body=body, content_type="application/strategic-merge-patch+json")


def moment(text: str) -> float:
    """A setting: RFC 3339, or a date; nothing is the beginning of time.

    Raises:
        ValueError: it is neither.
    """
    return datetime.fromisoformat(text).astimezone().timestamp() if text else 0.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this step and `keyferry.keys_job` are told alike."""
    parser.add_argument("--namespace", required=True, help="where the services run")
    parser.add_argument("--nats-host", action="append", required=True, help="a name that NATS is reached by; repeat it")
    parser.add_argument("--redis-host", action="append", required=True, help="a name of Valkey; repeat it")
    parser.add_argument("--nats-workload", default="", help="statefulsets/NAME that restarts with another certificate")
    parser.add_argument("--redis-workload", default="", help="deployments/NAME that does")
    parser.add_argument("--since", type=moment, default=0.0, help="make anew what was made before this time (RFC 3339)")
    parser.add_argument("--kubeconfig", help="the pod's own service account without one")


def servers(asked: argparse.Namespace) -> list[Server]:
    """The two that the chart runs."""
    return [
        Server("nats", tuple(asked.nats_host), asked.nats_workload, trusts=True),
        Server("redis", tuple(asked.redis_host), asked.redis_workload),
    ]


async def _run(asked: argparse.Namespace) -> None:
    async with connect(asked.kubeconfig, user_agent="keyferry-certificates") as kube:
        await ensure(kube, asked.namespace, servers(asked), now=time.time(), since=asked.since)


def main(told: list[str] | None = None) -> int:
    """Run the step; the exit status is 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="keyferry.certificates_job", description="Keeps servers' certificates good.")
    arguments(parser)
    asked = parser.parse_args(told)
    return ended("keyferry.certificates_job", _run(asked))


def ended(step: str, work: Coroutine[Any, Any, None]) -> int:
    """Run a step to its end; its exit status: 0, or 1 with the reason on standard error."""
    try:
        asyncio.run(work)
    except (ValueError, KeyError) as error:
        sys.stderr.write(f"{step}: a Secret holds something else ({type(error).__name__}): delete it\n")
        return 1
    except (KeyferryError, SettingsError, OSError) as error:
        sys.stderr.write(f"{step}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
