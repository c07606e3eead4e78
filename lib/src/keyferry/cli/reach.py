"""Connections of a command to what it needs; what it lacks is said with the way to get it."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from keyferry.bus import Bus
from keyferry.bus import connect as connect_bus
from keyferry.bus.identity import Access, BusSettings
from keyferry.cli.borrowed import NATS_URL, REDIS_URL, Borrowed, borrow
from keyferry.cli.lacking import Lacking
from keyferry.errors import BusUnavailable
from keyferry.kube import Kube
from keyferry.kube import connect as connect_kube
from keyferry.kube.connection import SERVICE_ACCOUNT
from keyferry.settings import SettingsError, load
from keyferry.store import Store, check_store, connect_store, store_url

LOOKER, MENDER = "cli", "mender"
"""The identities of `keyferry.bus.permissions` that commands have: who looks, and who replays and drops letters."""

_NATS = (
    "from outside the cluster: `kubectl -n kube-system port-forward svc/csi-secrets-store-nats 4222` "
    "(svc/RELEASE-nats) and --from-cluster; or set KEYFERRY_NATS_URL, KEYFERRY_NATS_CA_FILE and "
    "KEYFERRY_NATS_NKEY_FILE (docs/cli.md)"
)
_REDIS = (
    "from outside the cluster: `kubectl -n kube-system port-forward svc/csi-secrets-store-valkey 6379` "
    "(svc/RELEASE-valkey) and --from-cluster; or set KEYFERRY_REDIS_URL and KEYFERRY_REDIS_CA_FILE (docs/cli.md)"
)
_KUBE = "set KEYFERRY_KUBECONFIG, KUBECONFIG or --kubeconfig, and --context"


@dataclass(frozen=True, slots=True)
class Reach:
    """Where everything is, as asked.

    Attributes:
        nats: Where NATS is, and who we are.
        redis_url, redis_ca_file: Where Redis is; empty for nowhere.
        kubeconfig, context: Where the Kubernetes API is; empty for the usual.
        system_namespace: Where Keyferry runs.
        from_cluster: Whether who we are is to be read there.
    """

    nats: BusSettings = field(repr=False)
    redis_url: str = field(repr=False)
    redis_ca_file: str
    kubeconfig: str
    context: str
    system_namespace: str
    from_cluster: bool

    @classmethod
    def asked(cls, asked: argparse.Namespace) -> Reach:
        """From the arguments, and the environment that services have, too.

        Raises:
            Lacking: a setting cannot work.
        """
        environ = os.environ | ({"KEYFERRY_NATS_URL": asked.nats_url} if asked.nats_url else {})
        redis_url = asked.redis_url or environ.get("KEYFERRY_REDIS_URL", "")
        if asked.from_cluster:
            environ = {"KEYFERRY_NATS_URL": NATS_URL} | environ
            redis_url = redis_url or REDIS_URL
        try:
            nats = load(BusSettings, environ)
        except SettingsError as error:
            raise Lacking(str(error)) from None
        return cls(
            nats=nats,
            redis_url=redis_url,
            redis_ca_file=environ.get("KEYFERRY_REDIS_CA_FILE", ""),
            kubeconfig=asked.kubeconfig or environ.get("KEYFERRY_KUBECONFIG", "") or _usual_kubeconfig(),
            context=asked.context,
            system_namespace=asked.system_namespace,
            from_cluster=asked.from_cluster,
        )

    @property
    def has_key(self) -> bool:
        """Whether we are somebody in particular on NATS, and so no node."""
        return self.from_cluster or bool(self.nats.nats_nkey_file)

    @asynccontextmanager
    async def bus(self, *, identity: str = LOOKER, inbox: str | None = None, bearer: str = "") -> AsyncIterator[Bus]:
        """NATS.

        Args:
            identity: Whose inbox, and with ``--from-cluster`` whose key.
            inbox: As `keyferry.bus.connect` takes it.
            bearer: A node-driver's token, with which we are its node and nobody else.

        Raises:
            Lacking: it cannot be reached, or there is no such identity.
        """
        async with AsyncExitStack() as stack:
            access = self.nats.access
            if self.from_cluster:
                borrowed = await stack.enter_async_context(self._borrowed(identity))
                access = Access(ca_file=access.ca_file or borrowed.ca_file, seed=borrowed.seed)
            if bearer:
                access = replace(access, nkey_file="", seed="", token_file="", bearer=bearer)
            try:
                connecting = connect_bus(self.nats.nats_url, name=identity, inbox=inbox, access=access)
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
        async with AsyncExitStack() as stack:
            url, ca_file = self.redis_url, self.redis_ca_file
            try:
                store_url(url)
                check_store(url, allow_plaintext=self.nats.allow_plaintext)
            except ValueError as error:
                raise Lacking(f"KEYFERRY_REDIS_URL {error}") from None
            except SettingsError as error:
                raise Lacking(str(error)) from None
            if self.from_cluster:
                borrowed = await stack.enter_async_context(self._borrowed(LOOKER))
                url, ca_file = borrowed.at(url), ca_file or borrowed.ca_file
            store = await stack.enter_async_context(connect_store(url, name=LOOKER, ca_file=ca_file, any_version=True))
            if not store.is_connected:
                raise Lacking(f"Redis does not answer, or refuses our password\n  {_REDIS}")
            yield store

    @asynccontextmanager
    async def _borrowed(self, identity: str) -> AsyncIterator[Borrowed]:
        async with self.kube() as kube, borrow(kube, self.system_namespace, identity) as borrowed:
            yield borrowed

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
                connecting = connect_kube(
                    self.kubeconfig or None, context=self.context or None, user_agent="keyferry-cli"
                )
                kube = await stack.enter_async_context(connecting)
            except SettingsError as error:
                raise Lacking(f"{error}\n  {_KUBE}") from None
            yield kube


def _usual_kubeconfig() -> str:
    """As kubectl finds it; empty where there is none, as in a pod."""
    named = os.environ.get("KUBECONFIG", "")
    usual = Path.home() / ".kube" / "config"
    return named or (str(usual) if usual.exists() else "")
