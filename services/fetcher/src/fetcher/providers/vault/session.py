"""One fetch's access to one Vault: its calls, with a token that fetches share or with one of its own.

Vault takes leased credentials away together with the token that made them, so a content with leases must live by a
token that nobody else ends. Whether a path gives leases is known only once it has answered, and reading it once more
would make a second pair of credentials. Therefore:

- The first time, a call goes out with the shared token like any other. If leases come back, the fetch claims that very
  token: from then on no further fetch is given it, and the next one logs in anew.
- The provider remembers such calls (`LeasingCalls`). A fetch that is going to make one logs in for itself to begin
  with.
- Where two fetches find at the same time that the token they share has made leases, one of them claims it. The other
  logs in for itself and reads again; its first credentials end with the first fetch's token, or at their own end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fetcher.provider import ProviderRequest
from fetcher.providers.vault.answers import document, read_failure
from fetcher.providers.vault.client import Client
from fetcher.providers.vault.login import Clock, Identity, Token, log_in
from fetcher.providers.vault.objects import Call
from fetcher.providers.vault.parameters import Parameters
from fetcher.tokens import Tokens
from keyferry.errors import AccessDenied

_REMEMBERED = 10_000  # calls


@dataclass(frozen=True, slots=True)
class Read:
    """What a call gave, with which token, and when it was asked, in seconds of the session's clock."""

    answer: Mapping[str, Any] = field(repr=False)
    token: Token
    asked: float

    @property
    def lease_id(self) -> str:
        """Of what Vault made for this answer; empty if it had it already."""
        found = self.answer.get("lease_id")
        return found if isinstance(found, str) else ""


class LeasingCalls:
    """Calls that have given leases, whoever made them."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()

    def note(self, identity: Identity, call: Call, *, leases: bool) -> None:
        """Remember what a call has given; the least recently used are forgotten."""
        key = _key(identity, call)
        self._known.pop(key, None)
        if leases:
            self._known[key] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def has(self, identity: Identity, call: Call) -> bool:
        """Whether leases are to be expected."""
        return _key(identity, call) in self._known


def _key(identity: Identity, call: Call) -> tuple[str, str, str, str]:
    return identity.server.address, identity.server.namespace, call.method, call.path


class Session:
    """The calls of one fetch.

    Args:
        client: Carries them.
        tokens: Shared by all fetches.
        clock: By which tokens end.
        parameters: The class.
        request: Whose token logs in, and until when.

    Raises:
        InvalidSecretProviderClass: the pod has no token for the class's audience.
    """

    def __init__(
        self,
        client: Client,
        tokens: Tokens[Identity, Token],
        clock: Clock,
        parameters: Parameters,
        request: ProviderRequest,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._clock = clock
        self._began = clock()
        self._request = request
        self.held = {name: files for name, files in request.held.items() if any(file.is_leased for file in files)}
        """The files of objects that live by a lease already."""
        self._jwt = request.token(parameters.audience)
        pod = request.pod
        self.identity = Identity(
            parameters.server, parameters.role, parameters.audience, pod.namespace, pod.service_account
        )
        self.own: Token | None = None
        """The token that no other fetch has, if there is one: all calls go out with it."""

    async def log_in(self) -> None:
        """Get a token of its own."""
        token = await self._log_in()
        token.claim()
        self.own = token

    def claim(self, token: Token) -> bool:
        """Make a shared token its own; False if another fetch has claimed it."""
        if token.claim():
            self.own = token
        return token is self.own

    async def ask(self, call: Call) -> Read:
        """What a call gives.

        An older token may have been revoked, or its role given more since: upstream, too, logs in once more on 403.

        Raises:
            KeyferryError: as Vault answered.
        """
        token = self.own or await self._shared()
        try:
            return await self._send(call, token)
        except AccessDenied:
            if token is self.own or (token.since >= self._began and not token.is_claimed):
                raise
        return await self._send(call, await self._shared(refused=token))

    async def _send(self, call: Call, token: Token) -> Read:
        doing = f'{call.method} {call.path} from Vault as role "{self.identity.role}"'
        asked, left = self._clock(), self._request.seconds_left()
        answer = await self._client.send(self.identity.server, call, token=token.value, seconds_left=left)
        if failure := read_failure(answer, call, doing, token.value):
            raise failure
        return Read(document(answer, doing), token, asked)

    async def _shared(self, *, refused: Token | None = None) -> Token:
        return await self._tokens.get(self.identity, self._log_in, refused=refused)

    async def _log_in(self) -> Token:
        return await log_in(self._client.send, self.identity, self._jwt, self._clock)
