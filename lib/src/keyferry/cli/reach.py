"""Connections of a command to what it needs; what it lacks is said with the way to get it."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keyferry.bus import Bus
from keyferry.bus import connect as connect_bus
from keyferry.bus.identity import BusSettings
from keyferry.cli.lacking import Lacking
from keyferry.errors import BusUnavailable
from keyferry.kube import Kube
from keyferry.kube import connect as connect_kube
from keyferry.kube.connection import SERVICE_ACCOUNT
from keyferry.settings import SettingsError, load
from keyferry.store import Store, check_store, connect_store, store_url

_NATS = (
    "set KEYFERRY_NATS_URL or --nats-url; from outside the cluster: `kubectl -n kube-system port-forward "
    "svc/keyferry-nats 4222`, then tls://127.0.0.1:4222 with KEYFERRY_NATS_CA_FILE and KEYFERRY_NATS_NKEY_FILE"
)
_REDIS = (
    "set KEYFERRY_REDIS_URL or --redis-url to what the rotators have; from outside the cluster: "
    "`kubectl -n kube-system port-forward svc/keyferry-valkey 6379`, then rediss://USER:PASSWORD@127.0.0.1:6379/0 "
    "with KEYFERRY_REDIS_CA_FILE"
)
_KUBE = "set KEYFERRY_KUBECONFIG, KUBECONFIG or --kubeconfig"


@dataclass(frozen=True, slots=True)
class Reach:
    """Where everything is, as asked."""

    nats: BusSettings = field(repr=False)
    redis_url: str = field(repr=False)
    redis_ca_file: str
    kubeconfig: str

    @classmethod
    def asked(cls, asked: argparse.Namespace) -> Reach:
        """From the arguments, and the environment that services have, too.

        Raises:
            Lacking: a setting cannot work.
        """
        environ = os.environ | ({"KEYFERRY_NATS_URL": asked.nats_url} if asked.nats_url else {})
        redis_url = asked.redis_url or environ.get("KEYFERRY_REDIS_URL", "")
        try:
            nats = load(BusSettings, environ)
        except SettingsError as error:
            raise Lacking(str(error)) from None
        kubeconfig = asked.kubeconfig or environ.get("KEYFERRY_KUBECONFIG", "") or _usual_kubeconfig()
        return cls(nats, redis_url, environ.get("KEYFERRY_REDIS_CA_FILE", ""), kubeconfig)

    @asynccontextmanager
    async def bus(self, *, inbox: str | None = None) -> AsyncIterator[Bus]:
        """NATS.

        Args:
            inbox: As `keyferry.bus.connect` takes it.

        Raises:
            Lacking: it cannot be reached.
        """
        async with AsyncExitStack() as stack:
            try:
                connecting = connect_bus(self.nats.nats_url, name="cli", inbox=inbox, access=self.nats.access)
                bus = await stack.enter_async_context(connecting)
            except BusUnavailable as error:
                raise Lacking(f"{error.message}\n  {_NATS}") from None
            yield bus

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """Redis.

        Raises:
            Lacking: there is none, or it does not answer.
        """
        if not self.redis_url:
            raise Lacking(f"the schedule is in Redis, and nothing says where that is\n  {_REDIS}")
        try:
            store_url(self.redis_url)
            check_store(self.redis_url, allow_plaintext=self.nats.allow_plaintext)
        except ValueError as error:
            raise Lacking(f"KEYFERRY_REDIS_URL {error}") from None
        except SettingsError as error:
            raise Lacking(str(error)) from None
        async with connect_store(self.redis_url, name="cli", ca_file=self.redis_ca_file) as store:
            if not store.is_connected:
                raise Lacking(f"Redis does not answer, or refuses our password\n  {_REDIS}")
            yield store

    @asynccontextmanager
    async def kube(self) -> AsyncIterator[Kube]:
        """The Kubernetes API.

        Raises:
            Lacking: nothing says where it is.
        """
        if not self.kubeconfig and not SERVICE_ACCOUNT.exists():
            raise Lacking(f"nothing says where the Kubernetes API is\n  {_KUBE}")
        async with AsyncExitStack() as stack:
            try:
                connecting = connect_kube(self.kubeconfig or None, user_agent="keyferry-cli")
                kube = await stack.enter_async_context(connecting)
            except SettingsError as error:
                raise Lacking(f"{error}\n  {_KUBE}") from None
            yield kube


def _usual_kubeconfig() -> str:
    """As kubectl finds it; empty where there is none, as in a pod."""
    named = os.environ.get("KUBECONFIG", "")
    usual = Path.home() / ".kube" / "config"
    return named or (str(usual) if usual.exists() else "")
