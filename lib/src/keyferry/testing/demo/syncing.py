"""The Kubernetes Secret that the guide's class for AWS asks for: made, owned by the pods, gone with the last one."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Sequence

from rich.text import Text

from keyferry.kube import Json, Kube
from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.values import NAMESPACE, Secrets

NAME = "app-secrets"
_PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_KEYS = {"password": "db-password", "api-key": "api-key"}
_SECONDS = 20.0


async def made(kube: Kube, values: Secrets, owners: int) -> Json:
    """The Secret, once it holds what AWS does and has so many owners.

    Raises:
        Failure: it does not come to that.
    """
    wanted = {key: values["aws-secrets", file] for key, file in _KEYS.items()}

    def as_wanted(found: Json | None) -> bool:
        held = {key: base64.b64decode(value).decode() for key, value in ((found or {}).get("data") or {}).items()}
        return held == wanted and len(_owners(found)) == owners

    found = await _until(kube, as_wanted, f"is not there with the values of AWS and {owners} owners")
    if found is None:
        raise Failure(NAME, "is not there")
    return found


async def gone(kube: Kube, pods: Sequence[Json]) -> float:
    """Delete the pods; how long it then takes until the Secret is gone, in seconds.

    Raises:
        Failure: it stays.
    """
    for pod in pods:
        await kube.call("DELETE", f"{_PODS}/{pod['metadata']['name']}", query={"gracePeriodSeconds": "0"})
    begun = time.perf_counter()
    await _until(kube, lambda found: found is None, "is still there although its owners are gone")
    return time.perf_counter() - begun


def shown(secret: Json) -> Text:
    """Type, owners, and what the values are: what ``kubectl describe`` would tell, and the values."""
    lines = [Text.assemble((f"secret/{NAME}", "bold"), f"  {secret['type']}")]
    lines.append(Text.assemble(("owners  ", "dim"), ", ".join(_owners(secret))))
    for key, value in sorted((secret.get("data") or {}).items()):
        lines.append(Text.assemble((f"{key}  ", "dim"), (base64.b64decode(value).decode(), "yellow")))
    return Text("\n").join(lines)


def _owners(secret: Json | None) -> list[str]:
    references = ((secret or {}).get("metadata") or {}).get("ownerReferences") or ()
    return [f"{each['kind']} {each['name']}" for each in references]


async def _until(kube: Kube, wanted: Callable[[Json | None], bool], problem: str) -> Json | None:
    ends = time.perf_counter() + _SECONDS
    while not wanted(found := await kube.get(_PATH)):
        if time.perf_counter() > ends:
            raise Failure(NAME, problem)
        await asyncio.sleep(0.02)
    return found
