"""The Vault source: the event stream on an emulator, the login on a real OpenBao."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import REGISTRY

from keyferry.errors import AccessDenied
from keyferry.testing.openbao import OpenBao
from keyferry.testing.serving import serving
from keyferry.testing.vault_events import VaultEventsEmulator
from rotator.sources.reconnecting import Pauses
from rotator.sources.settings import VaultEvents
from rotator.sources.vault import VaultSource
from rotator.sources.vault_login import token

from .conftest import Bus, running, until

QUICK = Pauses(first=0.02, longest=0.05)


@pytest.fixture
async def vault() -> AsyncIterator[VaultEventsEmulator]:
    async with VaultEventsEmulator() as emulator:
        yield emulator


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("test-only-events\n")
    return file


def source(vault: VaultEventsEmulator, token_file: Path, **more: object) -> VaultSource:
    settings = VaultEvents(url=vault.address, token_file=str(token_file), **more)  # type: ignore[arg-type] # texts
    return VaultSource(settings, pauses=QUICK)


def connected() -> float | None:
    return REGISTRY.get_sample_value("keyferry_change_source_connected", {"source": "vault"})


async def test_a_write_is_told(vault: VaultEventsEmulator, token_file: Path, bus: Bus) -> None:
    """A notification of the stream reaches the bus by the path that classes read, once everything was read."""
    async with running(source(vault, token_file, namespace="team-a"), bus):
        await until(lambda: bus.gaps() == 1)
        identifier = await vault.write("secret/data/app/db")
        await until(lambda: "secret/data/app/db" in bus.sources())
    assert bus.told[-1].event_id == identifier
    assert vault.subscribed == [("kv*", "team-a", {"json": "true"})]


async def test_everything_is_read_again_after_a_gap(vault: VaultEventsEmulator, token_file: Path, bus: Bus) -> None:
    """What Vault told while nobody listened is lost: a new connection has all contents read."""
    hears = source(vault, token_file)
    hears._pending._every = 0.0
    async with running(hears, bus):
        await until(lambda: bus.gaps() == 1)
        await vault.stop()
        await until(lambda: connected() == 0)
        await vault.start()
        await until(lambda: bus.gaps() == 2)
        assert connected() == 1


async def test_a_connection_that_breaks_at_once_does_not_have_everything_read_each_time(
    vault: VaultEventsEmulator, token_file: Path, bus: Bus
) -> None:
    """However often the stream breaks, everything is read once in half a minute at most."""
    async with running(source(vault, token_file), bus):
        async with asyncio.timeout(20):
            while len(vault.subscribed) < 10:
                await vault.drop()
                await asyncio.sleep(0.01)
    assert bus.gaps() == 1


async def test_changes_wait_for_the_bus(vault: VaultEventsEmulator, token_file: Path, bus: Bus) -> None:
    """Vault tells once: what the bus does not take is kept until it does, each object once."""
    async with running(source(vault, token_file), bus):
        await until(lambda: bus.gaps() == 1)
        bus.away = True
        for _ in range(50):
            await vault.write("secret/data/a")
            await vault.write("secret/data/b")
        await until(lambda: len(bus.refused) > 3)
        bus.away = False
        await until(lambda: bus.sources() == {"secret/data/a", "secret/data/b"})
        await asyncio.sleep(0.2)
    assert len(bus.told) <= 4


async def test_a_flood_is_kept_in_bounds(vault: VaultEventsEmulator, token_file: Path, bus: Bus) -> None:
    """More changes than are kept become one of everything."""
    hears = source(vault, token_file)
    hears._pending._every = 0.0
    async with running(hears, bus):
        await until(lambda: bus.gaps() == 1)
        bus.away = True
        for number in range(3000):
            await vault.write(f"secret/data/s{number}")
        await until(lambda: bool(bus.refused))
        assert len(hears._pending._changes) <= 1000
        bus.away = False
        await until(lambda: bus.gaps() == 2)


async def test_nonsense_on_the_stream_is_passed_over(vault: VaultEventsEmulator, token_file: Path, bus: Bus) -> None:
    """What is no event is counted, and the stream goes on."""
    async with running(source(vault, token_file), bus):
        await until(lambda: bus.gaps() == 1)
        for text in ("", "hello", "{}", "[" * 10_000, '{"data": {"event_type": "kv-v2/data-write"}}'):
            await vault.send(text)
        await vault.write("secret/data/a")
        await until(lambda: "secret/data/a" in bus.sources())
    assert len(vault.subscribed) == 1


async def test_a_wrong_token_is_said_and_a_new_one_is_read(
    vault: VaultEventsEmulator, token_file: Path, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """The token's file is read at every try; the log says what Vault needs, and no token."""
    await asyncio.to_thread(token_file.write_text, "test-only-wrong-token")
    async with running(source(vault, token_file), bus):
        await until(lambda: "Vault gives no event stream, with status 403" in caplog.text)
        await asyncio.to_thread(token_file.write_text, "test-only-events")
        await until(lambda: bus.gaps() == 1)
    assert "test-only" not in caplog.text


async def test_a_role_logs_in_and_its_token_is_renewed(vault: VaultEventsEmulator, tmp_path: Path, bus: Bus) -> None:
    """Without a token file the pod's own token logs in; what Vault gives is renewed while the stream is heard."""
    jwt_file = tmp_path / "jwt"
    jwt_file.write_text("test-only-pod-token")
    vault.logins["test-only-pod-token"] = "test-only-given"
    vault.lease_seconds = 1
    settings = VaultEvents(url=vault.address, role="rotator", jwt_file=str(jwt_file))
    async with running(VaultSource(settings, pauses=QUICK), bus):
        await until(lambda: vault.renewals >= 2)
        await vault.write("secret/data/a")
        await until(lambda: "secret/data/a" in bus.sources())
    assert len(vault.subscribed) == 1


async def test_a_redirect_does_not_carry_the_token_elsewhere(
    vault: VaultEventsEmulator, token_file: Path, bus: Bus
) -> None:
    """Whoever can have Vault redirect us does not get its token."""
    shown: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        shown.append(str(dict(request.headers)))
        return web.Response(status=403)

    app = web.Application()
    app.router.add_get("/{any:.*}", elsewhere)
    async with serving(app) as url:
        vault.redirect = f"{url}/v1/sys/events/subscribe/kv"
        async with running(source(vault, token_file), bus):
            await until(lambda: bool(shown))
    assert "test-only-events" not in shown[0]


async def test_logging_in_to_openbao(openbao: OpenBao, tmp_path: Path) -> None:
    """The login that leads to a token is one that a real server takes, and another role is refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    await openbao.enable_jwt(mount="rotators", public_keys=[public.decode()])
    await openbao.jwt_role("rotator", subject="rotator", audience="vault", policies=["default"], mount="rotators")
    jwt_file = tmp_path / "jwt"
    claims = {"sub": "rotator", "aud": "vault", "iat": int(time.time()), "exp": int(time.time()) + 600}
    jwt_file.write_text(jwt.encode(claims, key, algorithm="ES256"))
    settings = VaultEvents(url=openbao.address, role="rotator", auth_mount="rotators", jwt_file=str(jwt_file))
    async with aiohttp.ClientSession() as session:
        held = await token(session, settings)
        with pytest.raises(AccessDenied, match="auth/rotators/login with status 400"):
            await token(session, replace(settings, role="other"))
    assert held.value not in repr(held)
    assert held.seconds > 0
