"""Reads Secrets Manager: several current secrets by one BatchGetSecretValue, all else one by one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fetcher.providers.aws.access import Access, all_of
from fetcher.providers.aws.credentials import Identity
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.fields import shown
from fetcher.providers.aws.values import Value, as_bytes
from fetcher.providers.aws.wanted import SECRETS_MANAGER, Wanted
from keyferry.errors import ProviderUnavailable, SecretNotFound

CURRENT = "AWSCURRENT"

_BATCH = 20  # secrets, the most that BatchGetSecretValue takes
_SUFFIX = 7  # characters: what AWS appends to a name in an ARN, such as "-a1B2c3"
_DENIED_FOR = 600.0  # seconds
_MAX_DENIED = 10_000


class BatchDenials:
    """Remembers for ten minutes which identities may not batch: their policies are older than BatchGetSecretValue."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[Identity, float] = OrderedDict()

    def holds(self, identity: Identity) -> bool:
        """Whether batching was denied lately."""
        return self._until.get(identity, 0.0) > self._clock()

    def add(self, identity: Identity) -> None:
        """Batching was denied just now."""
        self._until[identity] = self._clock() + _DENIED_FOR
        self._until.move_to_end(identity)
        if len(self._until) > _MAX_DENIED:
            self._until.popitem(last=False)


async def read(access: Access, wanted: Sequence[Wanted], denials: BatchDenials) -> dict[Wanted, Value]:
    """All of the secrets.

    Args:
        access: To one region.
        wanted: Secrets, possibly the same one several times.
        denials: Asked before batching, told after.

    Raises:
        KeyferryError: at least one could not be read; names all that could not for the same reason.
    """
    distinct = list(dict.fromkeys(wanted))
    found = await _in_batches(access, [each for each in distinct if _is_plain(each)], denials)
    singles = [each for each in distinct if each not in found]
    values = await all_of(_single(access, each) for each in singles)
    return found | dict(zip(singles, values, strict=True))


def _is_plain(wanted: Wanted) -> bool:
    return not wanted.version and wanted.label in ("", CURRENT)


async def _in_batches(access: Access, plain: Sequence[Wanted], denials: BatchDenials) -> dict[Wanted, Value]:
    """What batches yielded; whatever they did not is then asked for by itself, which also names what is wrong."""
    names = list(dict.fromkeys(each.name for each in plain))
    groups = [names[i : i + _BATCH] for i in range(0, len(names), _BATCH)]
    groups = [group for group in groups if len(group) > 1]
    if not groups or denials.holds(access.identity):
        return {}
    found: dict[str, Value] = {}
    for answers in await all_of(_batch(access, group, denials) for group in groups):
        found |= answers
    return {each: found[each.name] for each in plain if each.name in found}


async def _batch(access: Access, names: list[str], denials: BatchDenials) -> dict[str, Value]:
    try:
        answer = await access.call(SECRETS_MANAGER, "batch_get_secret_value", SecretIdList=names)
    except Fault as fault:
        if fault.is_transient or fault.condemns_credentials:
            raise fault.explain(f"reading {len(names)} secrets {access}") from None
        denials.add(access.identity)
        return {}
    found: dict[str, Value] = {}
    for each in answer.get("SecretValues", ()):
        name, arn = str(each.get("Name", "")), str(each.get("ARN", ""))
        # A name, an ARN, or an ARN without the characters that AWS appended to it: each is a way to ask.
        for asked in {name, arn, arn[:-_SUFFIX]} & set(names):
            found[asked] = _value(each, asked)
    return found


async def _single(access: Access, wanted: Wanted) -> Value:
    selector = {"VersionId": wanted.version} if wanted.version else {}
    if wanted.label or not wanted.version:
        selector["VersionStage"] = wanted.label or CURRENT
    try:
        answer = await access.call(SECRETS_MANAGER, "get_secret_value", SecretId=wanted.name, **selector)
    except Fault as fault:
        raise fault.explain(f"reading secret {wanted} {access}") from None
    return _value(answer, wanted.name)


def _value(answer: Mapping[str, Any], name: str) -> Value:
    version, text, binary = str(answer.get("VersionId", "")), answer.get("SecretString"), answer.get("SecretBinary")
    if isinstance(text, str):
        return Value(as_bytes(text), version)
    if isinstance(binary, bytes):
        return Value(binary, version)
    if not answer.get("ARN") or text is not None:
        raise ProviderUnavailable(f"reading secret {shown(name)}: an answer that makes no sense")
    raise SecretNotFound(f"secret {shown(name)} has no value: put one")
