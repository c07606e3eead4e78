"""Nothing of a secret or a token in logs, errors or representations."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider, ProviderRequest
from keyferry.errors import KeyferryError
from keyferry.testing.azure import TENANT, Fault
from keyferry.testing.azure.certificates import Issued

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

CANARY = "canary-4be1"
OTHER = "bbbbbbbb-1111-2222-3333-444444444444"
AUDIENCE = "api://AzureADTokenExchange"
READ = {"objectName": "db"}


@dataclass
class Leaky:
    """A vault whose contents must not leak, and the requests that try it.

    Attributes:
        tenant: The pod.
        token: The pod's token.
        client_secret: Of a service principal that may read the vault as well.
    """

    tenant: Tenant
    token: str
    client_secret: str

    @classmethod
    def prepare(cls, tenant: Tenant) -> Leaky:
        """Fill the vault."""
        tenant.vault.set_secret("db", CANARY)
        tenant.vault.set_secret("doc", json.dumps({"user": CANARY, "port": 1, f"{CANARY}/": "x"}))
        tenant.vault.allow(OTHER)
        return cls(tenant, tenant.token(), tenant.azure.directory.create_secret(TENANT, OTHER))

    def asks(self, *objects: Mapping[str, Any], **more: Any) -> ProviderRequest:
        """A request with the pod's token."""
        return self.tenant.asks(*objects, **{"tokens": {AUDIENCE: self.token}, **more})

    def principal(self, **fields: str) -> dict[str, Any]:
        """What makes a request one of a service principal."""
        secret = {"clientid": OTHER, "clientsecret": self.client_secret, **fields}
        return {"tokens": None, "clientID": "", "secret": secret}

    def good(self) -> list[ProviderRequest]:
        """What is answered; the first gets a secret, the last lists them."""
        return [
            self.asks(READ, {"objectName": "tls"}),
            self.asks({**READ, "objectVersionHistory": 2}),
            self.asks(READ, **self.principal()),
            self.asks({"objectName": "doc", "extractJSONKey": "user"}),
            self.asks({"selectPrefix": "d", "objectAlias": "all"}),
        ]

    def bad(self) -> list[ProviderRequest]:
        """What fails for what it asks for, or who asks."""
        objects: list[dict[str, Any]] = [
            {**READ, "objectEncoding": "hex"},
            {**READ, "objectEncoding": "base64"},
            {"objectName": "tls", "objectEncoding": "hex"},
            {"objectName": "gone"},
            *({**READ, field: "json"} for field in ("extractJSONKey", "extractYAMLKey", "expand")),
            {**READ, "maxBytes": 1},
            {"objectName": "doc", "extractYAMLKey": "port"},
            {"objectName": "doc", "expand": "json"},
            {"selectPrefix": "d", "extractJSONKey": "gone"},
        ]
        return [
            *(self.asks(each) for each in objects),
            self.asks(READ, **self.principal(clientsecret=f"{self.client_secret}{CANARY}")),
            self.asks(READ, tokens=None, clientID="", secret={"clientid": OTHER, "other": CANARY}),
            self.tenant.of("other").asks(READ, tokens={AUDIENCE: f"{self.token}x"}),
        ]

    def faults(self) -> list[Fault]:
        """What Key Vault does wrong, quoting what it was sent."""
        inner = {"code": f"{CANARY}!"}
        quoting = {"error": {"code": CANARY, "message": f"{CANARY} {self.token}", "innererror": inner}}
        return [
            *(Fault(status=status, code="X") for status in (400, 401, 403, 404, 409, 429, 500)),
            *(Fault(status=status, body=quoting) for status in (400, 401, 403, 409, 503)),
            Fault(malformed=True),
            Fault(cut=True),
            Fault(body={"value": [CANARY]}),
            Fault(body=[CANARY]),
            Fault(status=302, headers=(("Location", f"https://localhost/{CANARY}"),)),
        ]

    def answers(self) -> list[Fault]:
        """What Entra ID does wrong."""
        quoting = {"error": "invalid_client", "error_description": f"AADSTS700213: {self.token} {self.client_secret}"}
        return [Fault(status=401, body=quoting), Fault(body={"x": self.token}), Fault(malformed=True), Fault(cut=True)]

    async def failures(self, provider: Provider) -> list[KeyferryError]:
        """Of everything that fails."""
        good, switches = self.good(), self.tenant.azure.faults
        errors = [await _failure(provider, request) for request in self.bad()]
        for fault in self.faults():
            for operation, request in (("get secrets", good[0]), ("list secrets", good[-1])):
                switches.always(operation, fault)
                errors.append(await _failure(provider, request))
                switches.mend()
        self.tenant.azure.directory.federate(TENANT, "new", issuer="https://cluster.example", subject="x")
        for fault in self.answers():
            switches.always("token", fault)
            errors += [
                await _failure(provider, self.asks(READ, clientID="new")),
                await _failure(provider, self.asks(READ, **self.principal(clientid="new"))),
            ]
        return errors


async def test_no_log_and_no_error_holds_a_value_or_a_token(
    opened: Callable[..., Any], tenant: Tenant, certificate: Callable[..., Issued], caplog: pytest.LogCaptureFixture
) -> None:
    """At the highest level, through success and every kind of failure, also where answers quote what was sent."""
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "msal", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    leaky, key = Leaky.prepare(tenant), certificate("tls", pfx=True).pem().splitlines()[3]

    async with opened(KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        found = [await provider.fetch(request) for request in leaky.good()]
        errors = await leaky.failures(provider)
        states = repr([vars(part) for part in vars(provider).values() if hasattr(part, "__dict__")])

    secret_texts = [CANARY, leaky.client_secret, leaky.token, leaky.token.rpartition(".")[2], key, "Bearer ey"]
    logged = f"{caplog.text}{[record.__dict__ for record in caplog.records]}"
    told = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert len(errors) == len(leaky.bad()) + 2 * len(leaky.faults()) + 2 * len(leaky.answers())
    shown = f"{logged}{told}{found!r}{states}{leaky.good()!r}{leaky.bad()!r}"
    assert not [text for text in secret_texts if text in shown]
    assert [(error.__cause__, error.__context__) for error in errors] == [(None, None)] * len(errors)


async def _failure(provider: Provider, request: Any) -> KeyferryError:
    with pytest.raises(KeyferryError) as refused:
        await provider.fetch(request)
    return refused.value
