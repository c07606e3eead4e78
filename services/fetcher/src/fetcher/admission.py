"""Keeps the connection over which NATS asks about nodes, and says in words where it is not there."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from fetcher.callout import Callout
from fetcher.identity import TokenVerifier
from fetcher.settings import Settings
from keyferry.bus import Bus, connect
from keyferry.bus.identity import read_private
from keyferry.bus.nkeys import Nkey, Role
from keyferry.bus.permissions import CALLOUT_QUEUE, CALLOUT_SUBJECT
from keyferry.errors import BusUnavailable
from keyferry.identities import CALLOUT_KEY, ISSUER_KEY

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_UNTIL_ASKED = "it is being made"
_LOST = "it is lost, and made anew as soon as a server takes it"


class Admission:
    """Answers the server's questions over a connection of its own, with an identity of its own.

    Nodes that are connected are served without it, so that a fetcher which cannot have it goes on with all else; but no
    further node connects by its word, and none stays longer than its token lasts.

    Args:
        settings: Where the keys are, and who node-drivers are.
        tokens: Verifies tokens.

    Raises:
        CredentialError, NkeyError, OSError: the issuer's key cannot be used.
    """

    def __init__(self, settings: Settings, tokens: TokenVerifier) -> None:
        directory = Path(settings.callout_dir)
        issuer = Nkey.from_seed(read_private(str(directory / ISSUER_KEY)), Role.ACCOUNT)
        self._callout = Callout(tokens, issuer, settings.node_account)
        self._url = settings.nats_url
        self._access = replace(settings.access, nkey_file=str(directory / CALLOUT_KEY), token_file="")
        self._bus: Bus | None = None
        self._why = _UNTIL_ASKED

    def missing(self) -> list[str]:
        """What keeps nodes out, and what to do; empty while the connection stands."""
        if self._bus is not None and self._bus.is_connected:
            return []
        why = self._why if self._bus is None else _LOST
        absent = f"no node can connect to NATS by this fetcher's word: its callout connection is not there ({why})"
        return [f"{absent}; check the servers, and that {CALLOUT_KEY} in KEYFERRY_CALLOUT_DIR is the one of auth.conf"]

    async def run(self) -> NoReturn:
        """Answer, until cancelled."""
        while True:
            try:
                async with connect(self._url, name="callout", access=self._access) as bus:
                    self._bus = bus
                    await bus.answer(CALLOUT_SUBJECT, CALLOUT_QUEUE, self._callout)
            except BusUnavailable as error:
                if error.message != self._why:  # an outage is one line
                    log.warning("NATS cannot ask about nodes: %s", error.message)
                self._why = error.message
            finally:
                self._bus = None
            await asyncio.sleep(_RETRY_SECONDS)
