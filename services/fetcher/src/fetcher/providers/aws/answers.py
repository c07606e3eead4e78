"""Puts the answer for a class together: the files in its order, and what was left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from fetcher.options import Selection
from fetcher.provider import Answer, Secret
from fetcher.providers.aws.reading import Held, Read
from fetcher.providers.aws.values import NoValue, Value, files
from fetcher.providers.aws.wanted import Object
from fetcher.shown import shown
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound

log = logging.getLogger(__name__)


def answer(objects: Sequence[Object], reads: Mapping[str, Sequence[Read]], held: Held) -> Answer:
    """The files of a class; where two objects make the same file, the later one wins, as in upstream.

    Args:
        objects: The class's entries.
        reads: What each became, by its place in the class.
        held: What the last fetch gave, by object id.

    Raises:
        SecretNotFound: a selection is empty, or a part of an object is not there, and they are not optional.
        ContentTooLarge: an object is larger than the class allows.
        InvalidSecretProviderClass: an object is not what the class takes it for, or a file would be a directory too.
    """
    written: dict[str, Secret] = {}
    left_out: list[str] = []
    for each in objects:
        if not reads[each.place]:
            _check_optional(each)
            left_out.append(each.id)
        for read in reads[each.place]:
            made = _made(read, held)
            if made is None:
                left_out.append(read.object.id)
            for secret in made or ():
                if secret.path in written:
                    log.warning("two objects make the same file; the later one is kept", extra={"path": secret.path})
                written[secret.path] = secret
    _check_directories(written)
    return Answer(tuple(written.values()), tuple(dict.fromkeys(left_out)))


def _made(read: Read, held: Held) -> Sequence[Secret] | None:
    """The files of one object; None if it is to be left out."""
    if isinstance(read.found, Value):
        try:
            return list(files(read.object, read.found))
        except SecretNotFound:
            if not read.object.options.optional:
                raise
            return None
    if read.found is NoValue.UNCHANGED:
        # They were made by the same class: what is held belongs to a content key, of which the parameters are a part.
        return held[read.object.id]
    return None


def _check_optional(entry: Object) -> None:
    if entry.options.optional:
        return
    chosen = entry.selection or Selection()
    tags = ", ".join(f"{shown(key)}={shown(value)}" for key, value in chosen.tags)
    wishes = [f"{word} {text}" for word, text in (("prefix", shown(chosen.prefix)), ("tags", tags)) if text]
    raise SecretNotFound(
        f"{entry.place}: nothing of {entry.service} matches {' and '.join(wishes)}: "
        f"check the selection, or mark it optional"
    )


def _check_directories(written: Mapping[str, Secret]) -> None:
    for path in written:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in written:
                raise InvalidSecretProviderClass(
                    f"the file {shown(path)} would lie below {shown(parent)}, which is a file too: "
                    f"set objectAlias, or pathTranslation"
                )
            parent = parent.rpartition("/")[0]
