"""Secrets change in every backend, and each volume is watched until it holds the new ones."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import boto3
from rich.table import Table

from keyferry.testing.aws import KEY
from keyferry.testing.azure import AzureEmulator
from keyferry.testing.demo import volume
from keyferry.testing.demo.clouds import VAULT
from keyferry.testing.demo.cluster import Base, Keyferry
from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.values import PROJECT, REGION, Secrets
from keyferry.testing.gcp import GcpEmulator

CHANGED = "db-password"
"""The file that all four classes have."""

_EVENTS: Mapping[str, tuple[str, str]] = {
    "vault-secrets": ("vault", "secret/data/myapp/database"),
    "aws-secrets": ("aws", "secretsmanager/my-app-db-password"),
    "azure-keyvault": ("azure", f"{VAULT}/secret/{CHANGED}"),
    "gcp-secrets": ("gcp", f"secrets/{CHANGED}"),
}
"""What a change event calls the secret behind that file."""

_SECONDS = 30.0
_LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class Arrival:
    """When a volume had the new secret; seconds after it was written to the backend."""

    pod: str
    class_name: str
    seconds: float


async def write(base: Base, values: Secrets) -> dict[str, float]:
    """Put a new value into each backend; when each was there, by class."""
    written: dict[str, float] = {}
    for class_name in _EVENTS:
        value = values.renew(class_name, CHANGED)
        await _writing(base)[class_name](value)
        written[class_name] = time.perf_counter()
    return written


def _writing(base: Base) -> Mapping[str, Callable[[str], Awaitable[object]]]:
    aws = replace(base.stack.aws, region=REGION, _session=boto3.session.Session(KEY, KEY, region_name=REGION))
    return {
        "vault-secrets": lambda value: base.stack.openbao.put("myapp/database", {"password": value}),
        "aws-secrets": lambda value: aws.put_secret("my-app-db-password", value),
        "azure-keyvault": lambda value: _azure(base.azure, value),
        "gcp-secrets": lambda value: _google(base.google, value),
    }


async def _azure(azure: AzureEmulator, value: str) -> None:
    azure.vault(VAULT).set_secret(CHANGED, value)


async def _google(google: GcpEmulator, value: str) -> None:
    google.secrets.add(f"projects/{PROJECT}/secrets/{CHANGED}", value.encode())


async def announce(services: Keyferry) -> None:
    """Tell the rotator of the changes, as EventBridge, Event Grid, Pub/Sub and Vault would (docs/change-events.md).

    Raises:
        Failure: it does not take an event.
    """
    headers = {"Authorization": f"Bearer {services.webhook_token}", "Content-Type": "application/cloudevents+json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for provider, source in _EVENTS.values():
            event = {
                "specversion": "1.0",
                "id": str(uuid.uuid4()),
                "source": "/keyferry/demo",
                "type": "io.keyferry.backend.changed",
                "data": {"provider": provider, "sources": [source]},
            }
            async with session.post(f"{services.webhook_url}/events", json=event) as answer:
                if not answer.ok:
                    raise Failure("change event", f"the rotator answers {answer.status}")


async def arrivals(
    volumes: Iterable[tuple[str, str, Path]], values: Secrets, written: Mapping[str, float]
) -> list[Arrival]:
    """Watch until every volume holds what the backends do.

    Args:
        volumes: Pod, class and where it is mounted.
        values: What the backends hold.
        written: From `write`.

    Raises:
        Failure: one of them does not come to hold it.
    """

    async def watch(pod: str, class_name: str, target: Path) -> Arrival:
        while volume.contents(target) != values.files[class_name]:
            if time.perf_counter() - written[class_name] > _SECONDS:
                raise Failure(class_name, f"{target} still holds the old secret after {_SECONDS:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)
        return Arrival(pod, class_name, time.perf_counter() - written[class_name])

    return await asyncio.gather(*(watch(*each) for each in volumes))


def table(columns: Mapping[str, Sequence[Arrival]]) -> Table:
    """When each volume had the new secret; a column for each way in which it came."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for title in ("pod", "volume"):
        drawn.add_column(title)
    for title in columns:
        drawn.add_column(title, justify="right")
    for same in zip(*columns.values(), strict=True):
        drawn.add_row(same[0].pod, same[0].class_name, *(f"{each.seconds:.2f} s" for each in same))
    return drawn
