"""Event Grid's tokens, verified by keys that are served as Entra ID serves them."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from keyferry.errors import AccessDenied, ProviderUnavailable
from keyferry.testing.serving import serving
from rotator.sources.azure import AzureReceiver
from rotator.sources.entra import EntraTokens
from rotator.sources.heard import Heard
from rotator.sources.keys import Keys
from rotator.sources.receiver import Head

ISSUER, AUDIENCE, APP = "https://login.example/tenant/v2.0", "api://keyferry", "4962773b-0000"


@dataclass
class Issuer:
    """Signs tokens, and serves its keys."""

    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    asked: int = 0
    url: str = ""

    def add(self, key_id: str) -> None:
        """One more key."""
        self.keys[key_id] = rsa.generate_private_key(65537, 2048)

    async def serve(self, _: web.Request) -> web.Response:
        """The keys' public halves."""
        self.asked += 1
        listed = []
        for key_id, key in self.keys.items():
            about = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            listed.append({**about, "kid": key_id, "alg": "RS256", "use": "sig"})
        return web.json_response({"keys": listed})

    def token(self, key_id: str = "k-1", **claims: Any) -> str:
        """A token as Event Grid has it, but for these claims; None leaves one out."""
        usual = {"iss": ISSUER, "aud": AUDIENCE, "azp": APP, "exp": int(time.time()) + 600}
        made = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return "Bearer " + jwt.encode(made, self.keys[key_id], algorithm="RS256", headers={"kid": key_id})


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    serves = Issuer()
    serves.add("k-1")
    app = web.Application()
    app.router.add_get("/keys", serves.serve)
    async with serving(app) as url:
        serves.url = f"{url}/keys"
        yield serves


def tokens(issuer: Issuer) -> EntraTokens:
    return EntraTokens(issuer=ISSUER, audience=AUDIENCE, app=APP, jwks_url=issuer.url)


async def test_a_token_for_us_holds(issuer: Issuer) -> None:
    """Tokens of both of Entra's versions are believed, with the keys asked for once."""
    verifier = tokens(issuer)
    await verifier.verify(issuer.token())
    await verifier.verify(issuer.token(azp=None, appid=APP))
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.example/other/v2.0"},
        {"aud": "api://other"},
        {"azp": "another-application"},
        {"azp": None},
        {"exp": 1},
        {"exp": None},
        {"aud": None},
    ],
    ids=str,
)
async def test_a_token_for_somebody_else_does_not(issuer: Issuer, claims: dict[str, Any]) -> None:
    """Issuer, audience, application and end are all looked at."""
    with pytest.raises(AccessDenied):
        await tokens(issuer).verify(issuer.token(**claims))


async def test_a_forged_token_does_not_hold(issuer: Issuer) -> None:
    """Neither another key's signature, nor none, nor the public key taken for a secret, passes."""
    verifier, forger = tokens(issuer), Issuer()
    forger.add("k-1")
    head, _, rest = issuer.token().removeprefix("Bearer ").partition(".")
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "azp": APP}, "", algorithm="none", headers={"kid": "k-1"})
    for shown in (
        forger.token(),
        f"Bearer {unsigned}",
        f"Bearer {head}x.{rest}",
        "Bearer",
        "",
        "Basic x",
        "Bearer a.b.c",
    ):
        with pytest.raises(AccessDenied):
            await verifier.verify(shown)


async def test_strangers_do_not_make_us_ask_for_keys(issuer: Issuer) -> None:
    """Unknown key ids have the keys read once a minute, no more."""
    verifier, forger = tokens(issuer), Issuer()
    await verifier.verify(issuer.token())
    forger.add("f-1")
    for _ in range(20):
        with pytest.raises(AccessDenied):
            await verifier.verify(forger.token("f-1"))
    assert issuer.asked == 1


async def test_keys_that_cannot_be_read_are_nobodys_fault(issuer: Issuer) -> None:
    """Event Grid is then asked to come again, not refused for good."""
    away = EntraTokens(issuer=ISSUER, audience=AUDIENCE, app=APP, jwks_url="http://127.0.0.1:9/keys")
    with pytest.raises(ProviderUnavailable):
        await away.verify(issuer.token())
    receiver = AzureReceiver(Keys(), away, 10, Heard("azure"))
    head = Head("POST", {"authorization": issuer.token(), "content-type": "application/json"})
    answer = await receiver.refusal(head)
    assert answer
    assert answer.status == 503


async def test_where_both_are_set_both_must_hold(issuer: Issuer) -> None:
    """A token without the key, or the key without a token, is refused."""
    receiver = AzureReceiver(Keys(given="test-only-event-grid-key"), tokens(issuer), 10, Heard("azure"))
    kind = {"content-type": "application/json"}
    key = {"x-keyferry-key": "test-only-event-grid-key"}
    statuses = []
    for shown in ({"authorization": issuer.token()}, key, {"authorization": issuer.token(), **key}):
        answer = await receiver.refusal(Head("POST", {**kind, **shown}))
        statuses.append(answer.status if answer else 0)
    assert statuses == [401, 401, 0]
