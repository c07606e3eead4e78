"""Reads Secrets Manager: several current secrets by one BatchGetSecretValue, all else one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fetcher.providers.aws.access import CALLS_AT_ONCE, Access
from fetcher.providers.aws.denials import Denials
from fetcher.providers.aws.faults import Fault, from_code
from fetcher.providers.aws.staging import CURRENT, is_unchanged
from fetcher.providers.aws.values import Found, NoValue, Value, as_bytes
from fetcher.providers.aws.wanted import SECRETS_MANAGER, Question, Wanted
from fetcher.shown import shown
from fetcher.together import all_of
from keyferry.errors import ProviderUnavailable, SecretNotFound

_BATCH = 20  # secrets, the most that BatchGetSecretValue takes
_SUFFIX = 7  # characters: what AWS appends to a name in an ARN, such as "-a1B2c3"


@dataclass(frozen=True, slots=True)
class Denied:
    """Who may not call what only saves calls and values: such policies were written for GetSecretValue alone."""

    batch: Denials
    describe: Denials


@dataclass(frozen=True, slots=True)
class _Batches:
    """What batches yielded.

    Attributes:
        found: By the names that were asked for.
        answered: Names that were in a batch that AWS answered, with or without them.
    """

    found: dict[str, Found]
    answered: frozenset[str]


async def read(access: Access, questions: Sequence[Question], denied: Denied) -> dict[Wanted, Found]:
    """All of the secrets.

    Args:
        access: To one region.
        questions: Each secret, version and label once.
        denied: Asked before batching and describing, told after.

    Raises:
        KeyferryError: at least one could not be read; names all that could not for the same reason.
    """
    batches = await _in_batches(access, [each.wanted for each in questions if _is_plain(each.wanted)], denied)
    found: dict[Wanted, Found] = {}
    singles: list[Question] = []
    for each in questions:
        value = batches.found.get(each.wanted.name) if _is_plain(each.wanted) else None
        if isinstance(value, Value) or (value and each.optional):
            found[each.wanted] = value
        else:  # whatever a batch did not yield is asked for by itself, which also names what is wrong
            tried = _is_plain(each.wanted) and each.wanted.name in batches.answered
            singles.append(replace(each, held="") if tried else each)
    values = await all_of((_single(access, each, denied) for each in singles), at_once=CALLS_AT_ONCE)
    return found | {each.wanted: value for each, value in zip(singles, values, strict=True)}


def _is_plain(wanted: Wanted) -> bool:
    return not wanted.version and wanted.label in ("", CURRENT)


async def _in_batches(access: Access, plain: Sequence[Wanted], denied: Denied) -> _Batches:
    names = list(dict.fromkeys(each.name for each in plain))
    groups = [names[i : i + _BATCH] for i in range(0, len(names), _BATCH)]
    groups = [group for group in groups if len(group) > 1]
    if not groups or denied.batch.holds(access.identity):
        return _Batches({}, frozenset())
    found: dict[str, Found] = {}
    answered: set[str] = set()
    jobs = (_batch(access, group, denied.batch) for group in groups)
    for group, answers in zip(groups, await all_of(jobs, at_once=CALLS_AT_ONCE), strict=True):
        found |= answers or {}
        answered |= set() if answers is None else set(group)
    return _Batches(found, frozenset(answered))


async def _batch(access: Access, names: list[str], denials: Denials) -> dict[str, Found] | None:
    """What one batch yielded; None if this identity may not batch."""
    try:
        answer = await access.call(SECRETS_MANAGER, "batch_get_secret_value", SecretIdList=names)
    except Fault as fault:
        if fault.is_transient or fault.condemns_credentials:
            raise fault.explain(f"reading {len(names)} secrets {access}") from None
        denials.add(access.identity)
        return None
    found: dict[str, Found] = {}
    for each in answer.get("SecretValues", ()):
        name, arn = str(each.get("Name", "")), str(each.get("ARN", ""))
        # A name, an ARN, or an ARN without the characters that AWS appended to it: each is a way to ask.
        for asked in {name, arn, arn[:-_SUFFIX]} & set(names):
            found[asked] = _value(each, asked)
    for each in answer.get("Errors", ()):
        if from_code(str(each.get("ErrorCode", "")), 0).kind is SecretNotFound:
            found.setdefault(str(each.get("SecretId", "")), NoValue.MISSING)
    return found


async def _single(access: Access, question: Question, denied: Denied) -> Found:
    wanted = question.wanted
    if question.held and await is_unchanged(access, wanted, question.held, denied.describe):
        return NoValue.UNCHANGED
    selector = {"VersionId": wanted.version} if wanted.version else {}
    if wanted.label or not wanted.version:
        selector["VersionStage"] = wanted.label or CURRENT
    try:
        answer = await access.call(SECRETS_MANAGER, "get_secret_value", SecretId=wanted.name, **selector)
    except Fault as fault:
        if question.optional and fault.kind is SecretNotFound:
            return NoValue.MISSING
        raise fault.explain(f"reading secret {wanted} {access}") from None
    found = _value(answer, wanted.name)
    if found is NoValue.MISSING and not question.optional:
        raise SecretNotFound(f"secret {wanted} has no value: put one")
    return found


def _value(answer: Mapping[str, Any], name: str) -> Found:
    version, text, binary = str(answer.get("VersionId", "")), answer.get("SecretString"), answer.get("SecretBinary")
    source = f"{SECRETS_MANAGER}/{answer['Name']}" if answer.get("Name") else ""
    if isinstance(text, str):
        return Value(as_bytes(text), version, source)
    if isinstance(binary, bytes):
        return Value(binary, version, source)
    if not answer.get("ARN") or text is not None:
        raise ProviderUnavailable(f"reading secret {shown(name)}: an answer that makes no sense")
    return NoValue.MISSING
