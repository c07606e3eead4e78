"""Reads SSM Parameter Store: GetParameters, ten at a time, decrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fetcher.providers.aws.access import Access, all_of
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.fields import shown
from fetcher.providers.aws.values import Value, as_bytes
from fetcher.providers.aws.wanted import SSM, Wanted
from keyferry.errors import ProviderUnavailable, SecretNotFound

_BATCH = 10  # parameters, the most that GetParameters takes


async def read(access: Access, wanted: Sequence[Wanted]) -> dict[Wanted, Value]:
    """All of the parameters.

    Args:
        access: To one region.
        wanted: Parameters, possibly the same one several times.

    Raises:
        KeyferryError: at least one could not be read; names all that could not for the same reason.
    """
    found: dict[Wanted, Value] = {}
    for answers in await all_of(_batch(access, batch) for batch in batches(list(dict.fromkeys(wanted)))):
        found |= answers
    return found


def batches(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """Groups of ten at most, in none of which a parameter occurs twice.

    An answer names its parameters without version or label, so that two of them asked for at once could be mistaken for
    each other.
    """
    filled: list[dict[str, Wanted]] = []
    for each in wanted:
        key = _key(each.name)
        batch = next((batch for batch in filled if len(batch) < _BATCH and key not in batch), None)
        if batch is None:
            filled.append({key: each})
        else:
            batch[key] = each
    return [list(batch.values()) for batch in filled]


def selector(wanted: Wanted) -> str:
    """How GetParameters is asked for one version: ``name:version`` or ``name:label``."""
    suffix = wanted.version or wanted.label
    return f"{wanted.name}:{suffix}" if suffix else wanted.name


def _key(name: str) -> str:
    """The same for a parameter's name and its ARN, which has no slash before a name that has none."""
    return name.rpartition(":parameter")[2].lstrip("/")


async def _batch(access: Access, batch: Sequence[Wanted]) -> dict[Wanted, Value]:
    asked = ", ".join(str(each) for each in batch)
    doing = f"reading parameters {asked} {access}"
    try:
        answer = await access.call(SSM, "get_parameters", Names=[selector(each) for each in batch], WithDecryption=True)
    except Fault as fault:
        raise fault.explain(doing) from None
    values = {_key(str(each.get("Name", ""))): each for each in answer.get("Parameters", ())}
    missing = [each for each in batch if _key(each.name) not in values]
    if missing and not answer.get("InvalidParameters"):
        raise ProviderUnavailable(f"{doing}: an answer that makes no sense")
    if missing:
        names = ", ".join(shown(selector(each)) for each in missing)
        raise SecretNotFound(
            f"{access.identity.region}: invalid parameters: {names}: no such parameter, version or label"
        )
    return {each: _value(values[_key(each.name)], doing) for each in batch}


def _value(answer: Mapping[str, Any], doing: str) -> Value:
    text = answer.get("Value")
    if not isinstance(text, str):
        raise ProviderUnavailable(f"{doing}: an answer that makes no sense")
    return Value(as_bytes(text), str(answer.get("Version", "")))
