"""Finds what a selection stands for, by the listing of each service that costs least."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fetcher.options import MAX_SELECTED, Selection
from fetcher.providers.aws import ssm
from fetcher.providers.aws.access import Access
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.values import Value
from fetcher.providers.aws.wanted import SECRETS_MANAGER, SSM
from fetcher.shown import shown
from keyferry.errors import ContentTooLarge, ProviderUnavailable

T = TypeVar("T")

_SECRETS_A_PAGE = 100  # the most that ListSecrets gives
_VALUES_A_PAGE = 10  # the most that GetParametersByPath gives
_PARAMETERS_A_PAGE = 50  # the most that DescribeParameters gives
# What a filter of Secrets Manager can say (API reference, "Filter"); an exclamation mark at its beginning would negate.
_FILTERABLE = re.compile(r"[a-zA-Z0-9 :_@/+=.-][a-zA-Z0-9 :_@/+=.!-]{0,511}")


async def names(access: Access, service: str, selection: Selection) -> list[str]:
    """The names of what is selected in one region, sorted.

    Raises:
        ContentTooLarge: more than a selection may stand for.
        KeyferryError: it cannot be listed.
    """
    if service == SECRETS_MANAGER:
        found = await _listed(
            access,
            SECRETS_MANAGER,
            "list_secrets",
            lambda answer: _secrets(answer, selection),
            Filters=_filters(selection),
            MaxResults=_SECRETS_A_PAGE,
        )
    else:
        found = await _listed(
            access,
            SSM,
            "describe_parameters",
            lambda answer: dict.fromkeys(_named(answer, "Parameters", selection)),
            ParameterFilters=_parameter_filters(selection),
            MaxResults=_PARAMETERS_A_PAGE,
        )
    return sorted(found)


def is_path(selection: Selection) -> bool:
    """Whether all parameters of a selection, with their values, are below one path."""
    prefix = selection.prefix
    return prefix.startswith("/") and prefix.endswith("/") and not selection.tags


async def below_path(access: Access, selection: Selection) -> dict[str, Value]:
    """The parameters below a path, however deep, by name.

    Raises:
        ContentTooLarge: more than a selection may stand for.
        KeyferryError: they cannot be listed.
    """
    doing = f"reading parameters below {shown(selection.prefix)} {access}"

    def values(answer: Mapping[str, Any]) -> dict[str, Value]:
        return {name: ssm.value(each, doing) for name, each in _named(answer, "Parameters", selection).items()}

    found = await _listed(
        access,
        SSM,
        "get_parameters_by_path",
        values,
        Path=selection.prefix,
        Recursive=True,
        WithDecryption=True,
        MaxResults=_VALUES_A_PAGE,
    )
    return dict(sorted(found.items()))


async def _listed(
    access: Access, service: str, operation: str, take: Callable[[Mapping[str, Any]], Mapping[str, T]], **send: Any
) -> dict[str, T]:
    """All pages of a listing, by name."""
    action = f"{service}:{''.join(map(str.capitalize, operation.split('_')))}"
    doing = f"selecting by {action} {access}"
    found: dict[str, T] = {}
    token: Any = None
    while True:
        try:
            answer = await access.call(service, operation, **send, **({"NextToken": token} if token else {}))
        except Fault as fault:
            raise fault.explain(doing, needs=action) from None
        found.update(take(answer))
        if len(found) > MAX_SELECTED:
            raise ContentTooLarge(f"{doing}: more than {MAX_SELECTED} match: select fewer")
        following = answer.get("NextToken")
        if not following:
            return found
        if following == token:
            raise ProviderUnavailable(f"{doing}: an answer that makes no sense")
        token = following


def _named(answer: Mapping[str, Any], member: str, selection: Selection) -> dict[str, Mapping[str, Any]]:
    """What a page holds, without what only a loose filter let through; a page may be empty."""
    listed = answer.get(member) or ()
    named = {str(each.get("Name", "")): each for each in listed if isinstance(each, dict)}
    return {name: each for name, each in named.items() if name and name.startswith(selection.prefix)}


def _filters(selection: Selection) -> list[dict[str, Any]]:
    """Filters that let through all that is selected, and more: `_secrets` looks closely.

    AWS's filters match by prefix and without regard to which key has which value, and what several of them mean
    together has not always been the same. Each of these is true of every selected secret, so that "and" and "or" will
    both do.
    """
    key, value = next(iter(selection.tags), ("", ""))
    wishes = (("name", selection.prefix), ("tag-key", key), ("tag-value", value))
    return [{"Key": kind, "Values": [text]} for kind, text in wishes if _FILTERABLE.fullmatch(text)]


def _secrets(answer: Mapping[str, Any], selection: Selection) -> dict[str, None]:
    return {
        name: None
        for name, each in _named(answer, "SecretList", selection).items()
        if set(selection.tags) <= {(tag.get("Key"), tag.get("Value")) for tag in each.get("Tags") or ()}
    }


def _parameter_filters(selection: Selection) -> list[dict[str, Any]]:
    """Exact ones, all of which must hold; answers do not tell tags, so nothing can be looked at again."""
    filters: list[dict[str, Any]] = [
        {"Key": f"tag:{key}", "Option": "Equals", "Values": [value]} for key, value in selection.tags
    ]
    if selection.prefix:
        filters.append({"Key": "Name", "Option": "BeginsWith", "Values": [selection.prefix]})
    return filters
