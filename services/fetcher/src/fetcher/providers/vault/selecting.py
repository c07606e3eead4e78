"""Finds the secrets that a ``selectPrefix`` stands for, in a KV engine of either version."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from fetcher.options import MAX_SELECTED, Selection
from fetcher.providers.vault.objects import LIST, Call, Object, is_file_path
from fetcher.providers.vault.session import Session
from fetcher.together import all_of
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, ProviderUnavailable, SecretNotFound

_DEEPEST = 16  # folders in one another
_AT_ONCE = 8
_ENGINES = ("kv", "generic")  # the latter is what KV version 1 was called once


@dataclass(frozen=True, slots=True)
class _Paths:
    """Where an engine is asked: what stands before a secret's name to read it, and to list a folder."""

    read: str
    list: str


async def selected(session: Session, entry: Object, selection: Selection) -> list[Object]:
    """An object for each secret, sorted by name; none where nothing begins so.

    Raises:
        AccessDenied: the role may not list.
        ContentTooLarge: more than a selection may stand for.
        InvalidSecretProviderClass: the prefix is of no KV engine, or a secret's name cannot be a file's.
    """
    paths = await _paths(session, selection.prefix)
    names = await _names(session, paths, selection.prefix.removeprefix(paths.read))
    return [_object(entry, selection, paths.read + name) for name in names]


async def _paths(session: Session, prefix: str) -> _Paths:
    """What kind of engine it is: Vault tells everyone who may do anything there (so its own CLI finds out, too)."""
    call = Call("GET", f"sys/internal/ui/mounts/{quote(prefix)}")
    told = (await session.ask(call)).answer.get("data")
    mount, options = (told.get("path"), told.get("options")) if isinstance(told, dict) else (None, None)
    if not isinstance(told, dict) or not isinstance(mount, str):
        raise ProviderUnavailable(f"GET {call.path} from Vault: an answer that makes no sense")
    if told.get("type") not in _ENGINES:
        raise InvalidSecretProviderClass(f"selectPrefix {prefix}: only KV engines can be selected from")
    is_versioned = isinstance(options, dict) and options.get("version") == "2"
    paths = _Paths(f"{mount}data/", f"{mount}metadata/") if is_versioned else _Paths(mount, mount)
    if not prefix.startswith(paths.read):
        raise InvalidSecretProviderClass(
            f"selectPrefix {prefix}: must begin with {paths.read}, as the engine is mounted; "
            f"a namespace belongs into vaultNamespace"
        )
    return paths


async def _names(session: Session, paths: _Paths, beginning: str) -> list[str]:
    """The secrets of an engine whose names begin so."""
    found: list[str] = []
    folders = [beginning[: beginning.rfind("/") + 1]]
    for _ in range(_DEEPEST):
        listed = await all_of((_listed(session, paths.list, folder) for folder in folders), at_once=_AT_ONCE)
        matching = [name for names in listed for name in names if name.startswith(beginning)]
        found += [name for name in matching if not name.endswith("/")]
        folders = [name for name in matching if name.endswith("/")]
        if len(found) + len(folders) > MAX_SELECTED:
            raise ContentTooLarge(
                f"selectPrefix {paths.read}{beginning}: more than {MAX_SELECTED} secrets begin so: select fewer"
            )
        if not folders:
            return sorted(found)
    raise InvalidSecretProviderClass(
        f"selectPrefix {paths.read}{beginning}: folders are nested deeper than {_DEEPEST} levels"
    )


async def _listed(session: Session, where: str, folder: str) -> Sequence[str]:
    path = f"{where}{folder}"
    try:
        # With the slash at the end a policy for "secret/metadata/app/*" allows it.
        data = (await session.ask(Call("GET", quote(path), LIST))).answer.get("data")
    except SecretNotFound:
        return ()
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) and key.strip("/") for key in keys):
        raise ProviderUnavailable(f"listing {path} in Vault: an answer that makes no sense")
    return [folder + key for key in keys]


def _object(entry: Object, selection: Selection, secret: str) -> Object:
    file = posixpath.join(entry.path, selection.rest(secret))
    if not is_file_path(file) or {".", "..", ""} & set(secret.split("/")):
        raise InvalidSecretProviderClass(
            f"selectPrefix {selection.prefix}: the name of a secret ({len(secret)} characters) cannot be a file's"
        )
    call = Call("GET", quote(secret))
    return replace(entry, name=file, path=file, call=call, selection=None, is_selected=True)
