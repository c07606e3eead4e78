"""Puts the answer for a class together: what it selects, each resource once, and their files in the class's order."""

from __future__ import annotations

import base64
import binascii
import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fetcher.options import MAX_SELECTED, files
from fetcher.provider import Answer, Secret
from fetcher.providers.gcp.entries import Wanted
from fetcher.providers.gcp.faults import Withheld
from fetcher.providers.gcp.parameters import clash
from fetcher.providers.gcp.reading import Payload, Reader
from fetcher.providers.gcp.resources import Resource
from fetcher.providers.gcp.selecting import selected
from fetcher.providers.gcp.versions import Versions
from fetcher.together import all_of
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, SecretNotFound

log = logging.getLogger(__name__)

_CALLS_AT_A_TIME = 16  # of one fetch: a class of a thousand secrets leaves room for others

Made = tuple[Secret, ...] | None
"""The files of one secret; None if it is not there, and that is no error."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One fetch.

    Attributes:
        reader: The calls.
        versions: Which secrets need not be read.
        held: What the last fetch gave, by object id.
    """

    reader: Reader
    versions: Versions
    held: Mapping[str, tuple[Secret, ...]] = field(repr=False)

    async def answer(self, secrets: Sequence[Wanted]) -> Answer:
        """All files of a class.

        Raises:
            KeyferryError: the worst of those that failed, with all others of its class.
        """
        chosen = await all_of((self._chosen(entry) for entry in secrets), at_once=_CALLS_AT_A_TIME)
        if sum(len(group) for entry, group in zip(secrets, chosen, strict=True) if entry.selection) > MAX_SELECTED:
            raise ContentTooLarge(f"the class selects more than {MAX_SELECTED} secrets in all: select fewer")
        entries: dict[Resource, dict[Wanted, None]] = {}
        for wanted in (each for group in chosen for each in group):
            entries.setdefault(wanted.resource, {})[wanted] = None
        read = await all_of((self._read(*each) for each in entries.items()), at_once=_CALLS_AT_A_TIME)
        made = {wanted: files for group in read for wanted, files in group.items()}
        return _assembled(secrets, chosen, made)

    async def _chosen(self, entry: Wanted) -> list[Wanted]:
        """An entry that names a secret stands for itself, one that selects for what Google lists."""
        selection = entry.selection
        if selection is None:
            return [entry]
        ids = await selected(self.reader, entry.resource, selection)
        if not ids and not entry.options.optional:
            raise _nothing(entry)
        return [
            replace(entry, resource=entry.resource.newest(each), path=posixpath.join(entry.path, selection.rest(each)))
            for each in ids
        ]

    async def _read(self, resource: Resource, entries: Mapping[Wanted, None]) -> dict[Wanted, Made]:
        """The files of all entries that name one resource."""
        held = self._held(resource, entries)
        version = _version(held)
        if version and await self.versions.is_current(self.reader, resource, version):
            return dict(held)
        found: Payload | SecretNotFound
        try:
            found = await self.reader.payload(resource)
        except Withheld:
            raise
        except SecretNotFound as error:
            found = error
        made = await all_of(_made(each, found) for each in entries)
        return dict(zip(entries, made, strict=True))

    def _held(self, resource: Resource, entries: Mapping[Wanted, None]) -> dict[Wanted, tuple[Secret, ...]]:
        """What is held for each of the entries; empty if it is not for one of them."""
        files = self.held.get(resource.name, ())
        found = {each: tuple(file for file in files if _is_of(each, file.path)) for each in entries}
        return found if all(found.values()) else {}


def _version(held: Mapping[Wanted, tuple[Secret, ...]]) -> str:
    """The one version that all of these files are of; empty if there is none."""
    versions = {file.version or "" for files in held.values() for file in files}
    return versions.pop() if len(versions) == 1 else ""


def _is_of(entry: Wanted, path: str) -> bool:
    return path.startswith(f"{entry.path}/") if entry.options.expand else path == entry.path


async def _made(entry: Wanted, found: Payload | SecretNotFound) -> Made:
    if isinstance(found, SecretNotFound):
        # What was listed a moment ago may be gone, or have no version that is enabled: then it is not selected.
        if entry.options.optional or entry.selection:
            return None
        raise found
    try:
        return tuple(_files(entry, found))
    except SecretNotFound:
        if entry.options.optional:
            return None
        raise


def _files(entry: Wanted, payload: Payload) -> Iterator[Secret]:
    resource = entry.resource
    whole = Secret(entry.path, payload.data, resource.name, payload.version, entry.mode, resource.source)
    for each in files(entry.options, whole, str(resource)):
        yield replace(each, contents=_decoded(each.contents, resource)) if entry.base64 else each


def _decoded(contents: bytes, resource: Resource) -> bytes:
    try:
        return base64.b64decode(contents.translate(None, b"\r\n"), validate=True)
    except binascii.Error:
        pass
    raise InvalidSecretProviderClass(
        f"{resource}: failed to decode base64 content ({len(contents)} bytes): remove decodeBase64, or mend the secret"
    )


def _assembled(secrets: Sequence[Wanted], chosen: Sequence[list[Wanted]], made: Mapping[Wanted, Made]) -> Answer:
    """The answer; where two entries make the same file, the later one is kept, as in upstream."""
    written: dict[str, Secret] = {}
    left_out: list[str] = []
    for entry, group in zip(secrets, chosen, strict=True):
        missing = [each.resource.name for each in group if made[each] is None]
        if entry.selection and len(missing) == len(group):
            if not entry.options.optional:
                raise _nothing(entry)
            missing.append(f"{entry.resource.name}/secrets/{entry.selection.prefix}*")
        if entry.options.optional:
            left_out += missing
        for secret in (file for each in group for file in made[each] or ()):
            if secret.path in written:
                log.warning("two secrets make the same file; the later one is kept", extra={"path": secret.path})
            written[secret.path] = secret
    _check_folders(written)
    return Answer(tuple(written.values()), tuple(dict.fromkeys(left_out)))


def _check_folders(written: Mapping[str, Secret]) -> None:
    for path, secret in written.items():
        above = clash(written, path)
        if above:
            raise InvalidSecretProviderClass(
                f"{secret.object_id} makes a file in a folder of the name {above}, which is a file of "
                f"{written[above].object_id}: give one of them another path"
            )


def _nothing(entry: Wanted) -> SecretNotFound:
    selection = entry.selection
    prefix, tags = (selection.prefix, selection.tags) if selection else ("", ())
    wishes = [f"prefix {prefix}"] * bool(prefix) + [f"label {label}={value}" for label, value in tags]
    return SecretNotFound(
        f"{entry.resource}: none with {' and '.join(wishes)} that has an enabled version: check the selection, or mark "
        "it optional"
    )
