"""Nothing of a secret or a token in logs, errors or representations."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import KeyferryError
from keyferry.testing.azure import TENANT, Fault
from keyferry.testing.azure.certificates import Issued

if TYPE_CHECKING:
    from tests.contract.providers.azure.conftest import Tenant

CANARY = "canary-4be1"
OTHER = "bbbbbbbb-1111-2222-3333-444444444444"
AUDIENCE = "api://AzureADTokenExchange"


async def test_no_log_and_no_error_holds_a_value_or_a_token(
    opened: Callable[..., Any], tenant: Tenant, certificate: Callable[..., Issued], caplog: pytest.LogCaptureFixture
) -> None:
    """At the highest level, through success and every kind of failure, also where answers quote what was sent."""
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "msal", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    azure, token = tenant.azure, tenant.token()
    tenant.vault.set_secret("db", CANARY)
    key = certificate("tls", pfx=True).pem().splitlines()[3]
    tenant.vault.set_secret("doc", json.dumps({"user": CANARY, "port": 1, f"{CANARY}/": "x"}))
    tenant.vault.allow(OTHER)
    client_secret = azure.directory.create_secret(TENANT, OTHER)
    principal = {"clientid": OTHER, "clientsecret": client_secret}
    read, tokens = {"objectName": "db"}, {AUDIENCE: token}
    good = [
        tenant.asks(read, {"objectName": "tls"}, tokens=tokens),
        tenant.asks({**read, "objectVersionHistory": 2}, tokens=tokens),
        tenant.asks(read, clientID="", secret=principal),
        tenant.asks({"objectName": "doc", "extractJSONKey": "user"}, tokens=tokens),
        tenant.asks({"selectPrefix": "d", "objectAlias": "all"}, tokens=tokens),
    ]
    bad = [
        tenant.asks({**read, "objectEncoding": "hex"}, tokens=tokens),
        tenant.asks({**read, "objectEncoding": "base64"}, tokens=tokens),
        tenant.asks({"objectName": "tls", "objectEncoding": "hex"}, tokens=tokens),
        tenant.asks({"objectName": "gone"}, tokens=tokens),
        *(
            tenant.asks({**read, field: "json"}, tokens=tokens)
            for field in ("extractJSONKey", "extractYAMLKey", "expand")
        ),
        tenant.asks({**read, "maxBytes": 1}, tokens=tokens),
        tenant.asks({"objectName": "doc", "extractYAMLKey": "port"}, tokens=tokens),
        tenant.asks({"objectName": "doc", "expand": "json"}, tokens=tokens),
        tenant.asks({"selectPrefix": "d", "extractJSONKey": "gone"}, tokens=tokens),
        tenant.asks(read, clientID="", secret={**principal, "clientsecret": f"{client_secret}{CANARY}"}),
        tenant.asks(read, clientID="", secret={"clientid": OTHER, "other": CANARY}),
        tenant.of("other").asks(read, tokens={AUDIENCE: f"{token}x"}),
    ]
    quoting = {"error": {"code": CANARY, "message": f"{CANARY} {token}", "innererror": {"code": f"{CANARY}!"}}}
    faults = [
        *(Fault(status=status, code="X") for status in (400, 401, 403, 404, 409, 429, 500)),
        *(Fault(status=status, body=quoting) for status in (400, 401, 403, 409, 503)),
        Fault(malformed=True),
        Fault(cut=True),
        Fault(body={"value": [CANARY]}),
        Fault(body=[CANARY]),
        Fault(status=302, headers=(("Location", f"https://localhost/{CANARY}"),)),
    ]
    refusing = {"error": "invalid_client", "error_description": f"AADSTS700213: {token} {client_secret}"}
    answers = [Fault(status=401, body=refusing), Fault(body={"x": token}), Fault(malformed=True), Fault(cut=True)]

    async with opened(KEYFERRY_AZURE_ATTEMPTS="1") as provider:
        found = [await provider.fetch(request) for request in good]
        errors = [await _failure(provider, request) for request in bad]
        for fault in faults:
            azure.faults.always("get secrets", fault)
            errors.append(await _failure(provider, good[0]))
            azure.faults.mend()
            azure.faults.always("list secrets", fault)
            errors.append(await _failure(provider, good[-1]))
            azure.faults.mend()
        azure.directory.federate(TENANT, "new", issuer="https://cluster.example", subject="x")
        for fault in answers:
            azure.faults.always("token", fault)
            errors += [
                await _failure(provider, tenant.asks(read, clientID="new", tokens=tokens)),
                await _failure(provider, tenant.asks(read, clientID="", secret={**principal, "clientid": "new"})),
            ]
        states = repr([vars(part) for part in vars(provider).values() if hasattr(part, "__dict__")])

    secret_texts = [CANARY, client_secret, token, token.rpartition(".")[2], key, "Bearer ey"]
    logged = f"{caplog.text}{[record.__dict__ for record in caplog.records]}"
    told = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert len(errors) == len(bad) + 2 * len(faults) + 2 * len(answers)
    assert not [text for text in secret_texts if text in f"{logged}{told}{found!r}{states}{good!r}{bad!r}"]
    assert [(error.__cause__, error.__context__) for error in errors] == [(None, None)] * len(errors)


async def _failure(provider: Provider, request: Any) -> KeyferryError:
    with pytest.raises(KeyferryError) as refused:
        await provider.fetch(request)
    return refused.value
