"""Reads SSM Parameter Store: GetParameters, ten at a time, decrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fetcher.providers.aws.access import CALLS_AT_ONCE, Access
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.values import Found, NoValue, Value, as_bytes
from fetcher.providers.aws.wanted import SSM, Question, Wanted
from fetcher.shown import shown
from fetcher.together import all_of
from keyferry.errors import ProviderUnavailable, SecretNotFound

_BATCH = 10  # parameters, the most that GetParameters takes


async def read(access: Access, questions: Sequence[Question]) -> dict[Wanted, Found]:
    """All of the parameters.

    Args:
        access: To one region.
        questions: Each parameter, version and label once.

    Raises:
        KeyferryError: at least one could not be read; names all that could not for the same reason.
    """
    optional = {each.wanted for each in questions if each.optional}
    found: dict[Wanted, Found] = {}
    jobs = (_batch(access, batch, optional) for batch in batches([each.wanted for each in questions]))
    for answers in await all_of(jobs, at_once=CALLS_AT_ONCE):
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


def value(answer: Mapping[str, Any], doing: str) -> Value:
    """One parameter of an answer.

    Raises:
        ProviderUnavailable: it is none.
    """
    text = answer.get("Value")
    if not isinstance(text, str):
        raise ProviderUnavailable(f"{doing}: an answer that makes no sense")
    return Value(as_bytes(text), str(answer.get("Version", "")), f"{SSM}/{_key(str(answer.get('Name', '')))}")


def _key(name: str) -> str:
    """The same for a parameter's name and its ARN, which has no slash before a name that has none."""
    return name.rpartition(":parameter")[2].lstrip("/")


async def _batch(access: Access, batch: Sequence[Wanted], optional: set[Wanted]) -> dict[Wanted, Found]:
    asked = ", ".join(str(each) for each in batch)
    doing = f"reading parameters {asked} {access}"
    try:
        answer = await access.call(SSM, "get_parameters", Names=[selector(each) for each in batch], WithDecryption=True)
    except Fault as fault:
        raise fault.explain(doing) from None
    values = {_key(str(each.get("Name", ""))): each for each in answer.get("Parameters", ())}
    absent = [each for each in batch if _key(each.name) not in values]
    if absent and not answer.get("InvalidParameters"):
        raise ProviderUnavailable(f"{doing}: an answer that makes no sense")
    missing = [each for each in absent if each not in optional]
    if missing:
        names = ", ".join(shown(selector(each)) for each in missing)
        raise SecretNotFound(
            f"{access.identity.region}: invalid parameters: {names}: no such parameter, version or label"
        )
    found: dict[Wanted, Found] = dict.fromkeys(absent, NoValue.MISSING)
    return found | {each: value(values[_key(each.name)], doing) for each in batch if each not in found}
