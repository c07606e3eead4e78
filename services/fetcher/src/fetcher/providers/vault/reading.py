"""Reads what a class asks for: each call once, each answer cut into files, and the leases that came with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from fetcher.options import MAX_SELECTED
from fetcher.provider import Secret
from fetcher.providers.vault.contents import secrets
from fetcher.providers.vault.objects import Call, Object, in_the_way, twice
from fetcher.providers.vault.selecting import selected
from fetcher.providers.vault.session import LeasingCalls, Read, Session
from fetcher.together import all_of
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, KeyferryError, SecretNotFound

_AT_ONCE = 8  # of one fetch: a class of a thousand objects leaves room for others

Answers = dict[Call, Read | KeyferryError]
Held = Mapping[str, tuple[Secret, ...]]
NONE: Held = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Found:
    """What a class's objects are.

    Attributes:
        secrets: The files.
        left_out: Ids of optional objects that are not there.
        leases: The answers that Vault will take back, all made with the session's own token.
    """

    secrets: tuple[Secret, ...]
    left_out: tuple[str, ...]
    leases: tuple[Read, ...]


async def read_all(session: Session, objects: Sequence[Object], leasing: LeasingCalls, held: Held = NONE) -> Found:
    """The files of a class, or an error that names all objects that failed for the same reason.

    Args:
        session: Logs in.
        objects: Of the class.
        leasing: Remembered from fetch to fetch.
        held: The files of objects that are not read, for their lease lives.

    Raises:
        KeyferryError: as Vault answered.
    """
    expected = any(leasing.has(session.identity, item.call) for item in objects if item.name not in held)
    if expected and session.own is None:
        await session.log_in()
    entries = await all_of((_resolved(session, item) for item in objects), at_once=_AT_ONCE)
    if sum(item.is_selected for items in entries for item in items) > MAX_SELECTED:
        raise ContentTooLarge(f"the class selects more than {MAX_SELECTED} secrets in all: select fewer")
    # Equal calls are one: user and password come from one answer (upstream's e2e test 6).
    wanted = [item for items in entries for item in items if item.name not in held]
    answers = await _answers(session, list(dict.fromkeys(item.call for item in wanted)))
    leases = await _own_leases(session, answers, leasing)
    if leases and held:  # a path gives leases that gave none before: a content has one, so all of it is made anew
        return await read_all(session, objects, leasing)
    cut = await all_of(_cut(entry, items, answers, held) for entry, items in zip(objects, entries, strict=True))
    found = tuple(secret for files, _ in cut for secret in files)
    _check_paths([secret.path for secret in found])
    return Found(found, tuple(name for _, left_out in cut for name in left_out), leases)


async def _resolved(session: Session, item: Object) -> list[Object]:
    return [item] if item.selection is None else await selected(session, item, item.selection)


async def _answers(session: Session, calls: Sequence[Call]) -> Answers:
    async def ask(call: Call) -> tuple[Call, Read | KeyferryError]:
        try:
            return call, await session.ask(call)
        except KeyferryError as error:  # kept for the objects that wanted it: they may be optional
            return call, error

    return dict(await all_of(map(ask, calls), at_once=_AT_ONCE))


async def _own_leases(session: Session, answers: Answers, leasing: LeasingCalls) -> tuple[Read, ...]:
    """The answers with leases; read again where another fetch has the token that made them (see `session`)."""
    leases = {call: read for call, read in answers.items() if isinstance(read, Read) and read.lease_id}
    for call, read in answers.items():
        if isinstance(read, Read):
            leasing.note(session.identity, call, leases=call in leases)
    if len({read.token for read in leases.values()}) > 1 or not all(session.claim(r.token) for r in leases.values()):
        await session.log_in()
        again = await _answers(session, list(leases))
        answers.update(again)
        return tuple(read for read in again.values() if isinstance(read, Read) and read.lease_id)
    return tuple(leases.values())


async def _cut(entry: Object, items: Sequence[Object], answers: Answers, held: Held) -> tuple[list[Secret], list[str]]:
    """The files of one entry of the class, and the ids of what is left out of it."""
    found: list[Secret] = []
    left_out: list[str] = []
    for item in items:
        if item.name in held:
            found += held[item.name]
            continue
        answer = answers[item.call]
        if item.is_selected and isinstance(answer, SecretNotFound):
            continue  # deleted since, or its current version is: version 2 lists those, too
        try:
            if isinstance(answer, KeyferryError):
                raise answer
            found += (replace(each, is_leased=bool(answer.lease_id)) for each in secrets(item, answer.answer))
        except SecretNotFound:
            if not item.options.optional:
                raise
            left_out.append(item.name)
    if not found and not left_out and entry.selection:
        if not entry.options.optional:
            raise SecretNotFound(f"nothing in Vault begins with selectPrefix {entry.selection.prefix}")
        left_out.append(entry.name)
    return found, left_out


def _check_paths(paths: Sequence[str]) -> None:
    """Of what selections and documents turned out to hold; names that the class writes were checked before any call."""
    if again := twice(paths):
        raise InvalidSecretProviderClass(
            f"{len(again)} files would be written twice, such as {again[0]}: "
            f"give the entries with selectPrefix or expand an objectName of their own"
        )
    for path, file in in_the_way(set(paths), set(paths)):
        raise InvalidSecretProviderClass(
            f"file {path} needs a folder where {file} is a file: give one another objectName"
        )
