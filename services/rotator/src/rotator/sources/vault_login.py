"""The token that Vault's event stream is heard with: from a file, or by logging in; kept alive while it is used."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import aiohttp

from keyferry.errors import AccessDenied, ProviderUnavailable
from rotator.sources.bodies import TooLarge, whole
from rotator.sources.document import Malformed, member, parse
from rotator.sources.settings import VaultEvents

_HEADER_TEXT = re.compile(r"[!-~]{1,4096}")
_LARGEST_ANSWER = 256 * 1024
_FORBIDDEN = {400, 401, 403, 404}


@dataclass(frozen=True, slots=True)
class VaultToken:
    """A token; ``seconds`` it lives from when it was given, 0 where we need not renew it."""

    value: str = field(repr=False)
    seconds: float = 0.0


async def token(session: aiohttp.ClientSession, settings: VaultEvents) -> VaultToken:
    """From the token file, or from ``auth/<mount>/login``; kubernetes and jwt mounts take the same request.

    Raises:
        AccessDenied: no file, nothing usable in it, or Vault refuses the login.
        ProviderUnavailable: Vault does not answer.
    """
    if not settings.role:
        return VaultToken(_read(settings.token_file))
    login = {"role": settings.role, "jwt": _read(settings.jwt_file)}
    answer = await _post(session, settings, f"auth/{settings.auth_mount.strip('/')}/login", login)
    return _granted(answer)


async def keep_alive(session: aiohttp.ClientSession, settings: VaultEvents, held: VaultToken) -> NoReturn:
    """Renew a token at two thirds of its life, for as long as Vault does.

    Raises:
        AccessDenied, ProviderUnavailable: it is not renewed; log in again.
    """
    while held.seconds:
        await asyncio.sleep(held.seconds * 2 / 3)
        answer = await _post(session, settings, "auth/token/renew-self", {}, held.value)
        renewed = _granted(answer)
        if renewed.seconds < held.seconds / 2:
            raise AccessDenied("the token nears the end of its longest life: logging in again")
        held = renewed
    await asyncio.Event().wait()
    raise AssertionError


def _read(file: str) -> str:
    try:
        found = Path(file).read_text().strip()
    except (OSError, ValueError):
        raise AccessDenied(f"the file {file!r} with the token for Vault cannot be read") from None
    if not found.isprintable() or not found:
        raise AccessDenied(f"the file {file!r} holds no token")
    return found


async def _post(
    session: aiohttp.ClientSession, settings: VaultEvents, path: str, body: Mapping[str, str], held: str = ""
) -> Any:
    url = f"{settings.url.rstrip('/')}/v1/{path}"
    headers = {"X-Vault-Request": "true"}
    headers |= {"X-Vault-Namespace": settings.namespace} if settings.namespace else {}
    headers |= {"X-Vault-Token": held} if held else {}
    try:
        async with session.post(url, json=body, headers=headers, allow_redirects=False) as response:
            raw = await whole(response.content, _LARGEST_ANSWER)
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError, TooLarge) as error:
        raise ProviderUnavailable(f"Vault cannot be asked at {path}: {type(error).__name__}") from None
    if status in _FORBIDDEN:
        raise AccessDenied(f"Vault refuses at {path} with status {status}; check role, mount and policy")
    try:
        return parse(raw)
    except Malformed:
        raise ProviderUnavailable(f"Vault answers at {path} with status {status} and no JSON") from None


def _granted(answer: Any) -> VaultToken:
    auth = member(answer, "auth")
    value, seconds = auth.get("client_token"), auth.get("lease_duration")
    if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value) or not isinstance(seconds, int):
        raise AccessDenied("Vault gives no token; does the mount ask for a second factor?")
    return VaultToken(value, float(max(0, seconds)) if auth.get("renewable", True) else 0.0)
