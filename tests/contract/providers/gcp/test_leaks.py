"""Nothing of a secret or a token in logs, errors or representations."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fetcher.provider import Provider
from keyferry.errors import KeyferryError
from keyferry.testing.gcp import Fault

if TYPE_CHECKING:
    from tests.contract.providers.gcp.conftest import Tenant

CANARY = "canary-4be1"
NAMED = {"PROJECT": "demo", "CLUSTER_NAME": "blue", "CLUSTER_LOCATION": "europe-west1"}
ACCOUNT = "app@demo.iam.gserviceaccount.com"


async def test_no_log_and_no_error_holds_a_value_or_a_token(
    opened: Callable[..., Any], tenant: Tenant, own: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the highest level, through success and every kind of failure."""
    caplog.set_level(logging.DEBUG)
    for name in ("google", "grpc", "grpc._cython", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).propagate = True
    gcp, token = tenant.gcp, tenant.token()
    name = tenant.put("db", f'{{"key": "{CANARY}", "n": 1}}'.encode())
    odd = tenant.put("odd", f'{{"../{CANARY}": "{CANARY}"}}'.encode())
    gcp.policies.allow(tenant.member, "projects/demo", "roles/secretmanager.viewer")
    key, fetchers_token = gcp.identities.create_account(ACCOUNT), (tmp_path / "token").read_text()
    read = {"resourceName": f"{name}/versions/latest", "path": "db"}
    good = [tenant.asks(read, tokens={"demo.svc.id.goog": token}), tenant.asks(read, auth="provider-adc")]
    bad = [
        tenant.asks({**read, "extractJSONKey": "n"}),
        tenant.asks({**read, "extractYAMLKey": "other"}),
        tenant.asks({**read, "decodeBase64": True}),
        tenant.asks({**read, "maxBytes": 1}),
        tenant.asks({**read, "expand": "yaml", "decodeBase64": True}),
        tenant.asks({"resourceName": f"{odd}/versions/1", "path": "odd", "expand": "json"}),
        tenant.asks({"resourceName": "projects/demo", "selectPrefix": "db", "extractJSONKey": "n"}),
        tenant.asks({"resourceName": "projects/demo", "selectPrefix": "none"}),
        tenant.asks({**read, "extractJSONKey": "key", "decodeBase64": True}),
        tenant.asks(read, key=key),
        tenant.asks(read, key={**key, "private_key": CANARY}),
        tenant.asks(read, annotations={"iam.gke.io/gcp-service-account": ACCOUNT}),
        tenant.of("other").asks(read, tokens={"demo.svc.id.goog": f"{token}x"}),
    ]
    codes = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT")
    faults = [Fault(malformed=True), Fault(wrong_checksum=True), *(Fault(code=grpc.StatusCode[code]) for code in codes)]

    async with opened(**own, **NAMED, ALLOW_NODE_PUBLISH_SECRET="true", KEYFERRY_GCP_ATTEMPTS="1") as provider:
        found = [await provider.fetch(request) for request in good]
        refresh = replace(good[0], held={secret.object_id: (secret,) for secret in found[0]})
        found.append(await provider.fetch(refresh))
        assert gcp.faults.count("GetSecretVersion") == 1
        errors = [await _failure(provider, request) for request in bad]
        for fault in faults:
            gcp.faults.always("AccessSecretVersion", fault)
            errors.append(await _failure(provider, good[0]))
        states = repr([vars(part) for part in vars(provider).values() if hasattr(part, "__dict__")])

    secret_texts = [CANARY, fetchers_token, token, token.rpartition(".")[2], key["private_key"], "ya29."]
    logged = f"{caplog.text}{[record.__dict__ for record in caplog.records]}"
    told = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert len(errors) == len(bad) + len(faults)
    assert not [text for text in secret_texts if text in f"{logged}{told}{found!r}{states}{good!r}{bad!r}{refresh!r}"]
    assert [(error.__cause__, error.__context__) for error in errors] == [(None, None)] * len(errors)


async def _failure(provider: Provider, request: Any) -> KeyferryError:
    with pytest.raises(KeyferryError) as refused:
        await provider.fetch(request)
    return refused.value
