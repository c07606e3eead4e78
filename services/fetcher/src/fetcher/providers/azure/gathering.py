"""Gathers the files of a class: what each of its entries stands for, read, and made into files as the entry says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fetcher.options import MAX_SELECTED, Selection, files
from fetcher.provider import Answer, Secret
from fetcher.providers.azure.contents import Value, contents
from fetcher.providers.azure.faults import Withheld
from fetcher.providers.azure.listing import rest
from fetcher.providers.azure.reading import Reader
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.wanted import Object, Parameters, Reference
from fetcher.shown import shown
from fetcher.together import all_of
from keyferry.errors import ContentTooLarge, InvalidSecretProviderClass, SecretNotFound

log = logging.getLogger(__name__)

_MOST_FILES = 10_000  # a thousand entries may each stand for a thousand objects of a thousand keys


@dataclass(frozen=True, slots=True)
class _Part:
    """What came of one entry."""

    secrets: Sequence[Secret] = ()
    left_out: tuple[str, ...] = ()


class Gatherer:
    """One fetch.

    Args:
        reader: Reads from the vault.
        parameters: Of the class.
        settings: The operator's.
    """

    def __init__(self, reader: Reader, parameters: Parameters, settings: AzureSettings) -> None:
        self._reader = reader
        self._parameters = parameters
        self._settings = settings
        self._files = 0

    async def answer(self) -> Answer:
        """All of the class.

        Raises:
            KeyferryError: an entry cannot be read, or two of them cannot be in one volume.
        """
        parts = await all_of(self._part(each) for each in self._parameters.objects)
        secrets = _as_written(secret for part in parts for secret in part.secrets)
        left_out = dict.fromkeys(name for part in parts for name in part.left_out)
        return Answer(secrets, tuple(left_out))

    async def _part(self, each: Object) -> _Part:
        if each.selection is not None:
            return await self._selected(each, each.selection)
        try:
            references = await self._reader.versions(each)
            values = await all_of(self._reader.value(reference) for reference in references)
            return _Part(await self._made(each, each.file, list(zip(references, values, strict=True))))
        except SecretNotFound as error:
            if not each.options.optional or isinstance(error, Withheld):
                raise
        return _Part(left_out=(each.id,))

    async def _selected(self, each: Object, selection: Selection) -> _Part:
        names = await self._reader.selected(each.reference.kind, selection)
        if len(names) > MAX_SELECTED:
            raise InvalidSecretProviderClass(
                f"{each.place} stands for {len(names)} objects of vault {self._parameters.vault}, "
                f"where {MAX_SELECTED} are the most: narrow selectPrefix or selectTags"
            )
        parts = await all_of(self._one(each, selection, Reference(each.reference.kind, name)) for name in names)
        secrets = [secret for part in parts for secret in part.secrets]
        left_out = tuple(name for part in parts for name in part.left_out)
        if not (secrets or left_out or each.options.optional):
            raise SecretNotFound(
                f"{each.place}: vault {self._parameters.vault} has no enabled {each.reference.kind} of this "
                "selectPrefix and these selectTags: mend them, or write optional: true"
            )
        return _Part(secrets, left_out or (() if secrets else (each.id,)))

    async def _one(self, each: Object, selection: Selection, reference: Reference) -> _Part:
        try:
            value = await self._reader.value(reference)
        except SecretNotFound:  # deleted or disabled since it was listed
            return _Part()
        path = "/".join(part for part in (each.file, rest(selection, reference.name)) if part)
        try:
            return _Part(await self._made(each, path, [(reference, value)]))
        except SecretNotFound:
            if not each.options.optional:
                raise
        return _Part(left_out=(reference.id,))

    async def _made(self, each: Object, path: str, found: Sequence[tuple[Reference, Value]]) -> list[Secret]:
        options = each.options
        slow = options.yaml_key or options.expand == "yaml" or any(value.content_type is not None for _, value in found)
        if slow:  # off the event loop: PKCS#12 and YAML take milliseconds
            made = await asyncio.to_thread(lambda: list(self._make(each, path, found)))
        else:
            made = list(self._make(each, path, found))
        self._files += len(made)
        if self._files > _MOST_FILES:
            raise ContentTooLarge(f"the objects of the class are more than {_MOST_FILES} files: split the class")
        return made

    def _make(self, each: Object, path: str, found: Sequence[tuple[Reference, Value]]) -> Iterator[Secret]:
        settings = self._settings
        for index, (reference, value) in enumerate(found):
            number = f"/{index}" if each.history > 1 else ""
            pieces = contents(
                each,
                reference,
                value,
                construct_chain=settings.construct_pem_chain,
                separate_files=settings.separate_files,
            )
            for suffix, data in pieces:
                whole = Secret(
                    path=f"{path}{number}{suffix}",
                    contents=data,
                    object_id=f"{reference.id}{number}",
                    version=value.version,
                    mode=each.mode,
                    source=self._parameters.source(reference),
                )
                name = f"{reference} of vault {self._parameters.vault}"
                yield from [whole] if suffix else files(each.options, whole, name)


def _as_written(secrets: Iterable[Secret]) -> tuple[Secret, ...]:
    """One file for each path, the last.

    Raises:
        InvalidSecretProviderClass: a file is where another needs a folder.
    """
    written: dict[str, Secret] = {}
    for secret in secrets:
        if secret.path in written:
            log.warning("two objects make the same file; the later one is kept", extra={"path": secret.path})
        written[secret.path] = secret
    for path in written:
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in written]
        if above:
            raise InvalidSecretProviderClass(
                f"file {shown(path)} needs a folder where {shown(above[0])} is a file: give one of them another "
                "objectAlias"
            )
    return tuple(written.values())
