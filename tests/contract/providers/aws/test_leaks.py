import logging
from typing import Any

import pytest

from fetcher.provider import Provider
from keyferry.errors import InvalidSecretProviderClass
from keyferry.testing.aws import Aws

CANARY = "canary-4be1"


async def test_no_log_holds_a_value_or_a_token(
    provider: Provider, account: Any, strict_aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    """At the highest level the SDK would log whole requests and answers; of ours nothing may be in them."""
    caplog.set_level(logging.DEBUG)
    token = account.token("sts.amazonaws.com")
    for name in ("a", "b"):
        await strict_aws.create_secret(account.name(name), f'{{"key": "{CANARY}", "n": 1}}')
    await strict_aws.put_parameter(f"/{account.name('p')}", CANARY)
    caplog.clear()
    objects = [{"objectName": account.name(name), "objectType": "secretsmanager"} for name in ("a", "b")]
    objects.append({"objectName": f"/{account.name('p')}", "objectType": "ssmparameter"})
    broken = {**objects[0], "jmesPath": [{"path": "n", "objectAlias": "n"}]}

    found = await provider.fetch(account.request(*objects))
    with pytest.raises(InvalidSecretProviderClass) as refused:
        await provider.fetch(account.request(broken))

    (credentials,) = provider._credentials._known.values()  # type: ignore[attr-defined]  # looks inside
    seen = f"{caplog.text}{refused.value}{found!r}{[record.__dict__ for record in caplog.records]}"
    assert len(found) == 3
    assert not [text for text in (CANARY, token, credentials.secret_key, credentials.token) if text in seen]
