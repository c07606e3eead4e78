"""Gives the blocking transport to the event loop: bounded threads, of which one address cannot take all."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakValueDictionary

from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Server
from fetcher.providers.vault.settings import VaultSettings
from fetcher.providers.vault.transport import Answer, Transport
from keyferry.errors import ProviderUnavailable


class Client:
    """Calls to any Vault, on connections that all pods share: a call carries its own token."""

    def __init__(self, settings: VaultSettings) -> None:
        self._timeout = settings.timeout
        self._per_address = settings.threads // 2
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="vault")
        self._transport = Transport(connections=self._per_address, proxy=settings.proxy)
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def send(
        self, server: Server, call: Call, *, token: str | None = None, seconds_left: float = float("inf")
    ) -> Answer:
        """One request and its answer, whatever its status.

        Args:
            server: Where to.
            call: What.
            token: Vault's token; None to log in.
            seconds_left: For this call; the setting's bound holds as well.

        Raises:
            InvalidSecretProviderClass: a TLS file cannot be used.
            ProviderUnavailable: no answer, or none in time.
            ContentTooLarge: an answer that no volume could hold.
        """
        slots = self._slots.get(server.address)
        if slots is None:
            slots = self._slots[server.address] = asyncio.Semaphore(self._per_address)
        async with slots:
            timeout = min(self._timeout, seconds_left)
            if timeout <= 0:
                raise ProviderUnavailable(f"Vault at {server.address} does not answer in time")
            send = partial(self._transport.send, server, call, token=token, timeout=timeout)
            return await asyncio.get_running_loop().run_in_executor(self._threads, send)

    async def close(self) -> None:
        """Close connections and threads; calls still under way end by their time-out."""
        self._transport.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
