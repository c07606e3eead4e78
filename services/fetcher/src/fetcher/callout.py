"""Tells NATS which node a node-driver runs on, by its service account token, and so what it may do (NATS ADR-26).

A node holds no credential of the bus. Its driver connects with a token that kubelet made for its own pod; the server
asks a fetcher, and what it is told lasts as long as the token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fetcher.identity import TokenVerifier
from keyferry.bus.nkeys import Nkey, NkeyError, Role, opened
from keyferry.bus.permissions import ACCOUNT, node_rights
from keyferry.errors import IdentityRefused, UntrustedMessage
from keyferry.resources import SYNCER_NODE
from keyferry.subjects import is_token, node_token

security = logging.getLogger("keyferry.security")

BUS_AUDIENCE = "keyferry-nats"
"""Of the token that a node-driver shows to NATS; the one of pods opens nothing here, and this one opens no request."""

_SUBSCRIPTIONS = 32  # of a node; it has two, and one while it waits for an acknowledgement


@dataclass(frozen=True)
class Callout:
    """Answers the server's questions.

    Attributes:
        tokens: Verifies tokens.
        issuer: Signs the answers; the server's configuration names it.
        account: Service account of the node-drivers, ``namespace/name``.
        now: Unix seconds.
    """

    tokens: TokenVerifier
    issuer: Nkey = field(repr=False)
    account: str
    now: Callable[[], float] = time.time

    async def __call__(self, question: bytes) -> bytes:
        """The answer to a question: a user's rights, or that it has none.

        Raises:
            UntrustedMessage: it is no question of a server.
            KeyferryError: it cannot be told now; the driver tries again every second.
        """
        asked = _asked(question)
        server, user = asked["server_id"]["id"], asked["user_nkey"]
        told: dict[str, Any] = {"type": "authorization_response", "version": 2}
        try:
            told["jwt"] = await self._user(user, str(asked["connect_opts"].get("auth_token", "")))
        except IdentityRefused as refused:
            told["error"] = "refused"  # why is our own log's business: the server shows this to whom it refuses
            client = asked.get("client_info", {})
            host, reason = client.get("host", ""), refused.message
            security.warning("node refused by the bus", extra={"host": str(host)[:64], "reason": reason})
        answer = {"aud": server, "sub": user, "iat": int(self.now()), "nats": told}
        return self.issuer.jwt(answer).encode()

    async def _user(self, user: str, token: str) -> str:
        verified = await self.tokens.verify_account(token, audience=BUS_AUDIENCE, account=self.account)
        if not is_token(node_token(verified.node)) or verified.node == SYNCER_NODE:
            raise IdentityRefused("the node's name is none that a node may have")
        rights = node_rights(verified.node)
        security.info("node admitted to the bus", extra={"node": verified.node, "pod": str(verified.pod)})
        claims = {
            "aud": ACCOUNT,
            "sub": user,
            "name": verified.node,
            "iat": int(self.now()),
            "exp": int(verified.expires_at),
            "nats": {
                "pub": {"allow": list(rights.publish)},
                "sub": {"allow": list(rights.subscribe)},
                "subs": _SUBSCRIPTIONS,
                "data": -1,
                "payload": -1,
                "allowed_connection_types": ["STANDARD"],
                "type": "user",
                "version": 2,
            },
        }
        return self.issuer.jwt(claims)


def _asked(question: bytes) -> dict[str, Any]:
    try:
        claims = opened(question.decode(), Role.SERVER)
        asked: dict[str, Any] = claims["nats"]
        if asked["type"] != "authorization_request" or asked["server_id"]["id"] != claims["iss"]:
            raise UntrustedMessage("a question about a node does not come from the server that it names")
        return {**asked, "user_nkey": str(asked["user_nkey"]), "connect_opts": dict(asked["connect_opts"])}
    except (NkeyError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UntrustedMessage(f"a question about a node is malformed ({type(error).__name__})") from None
