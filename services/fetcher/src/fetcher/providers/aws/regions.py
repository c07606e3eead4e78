"""Where a class's secrets are: its regions, and what other services of ours call them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fetcher.provider import Problems, Scope

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def regions(region: str, failover: str, default: str, problems: Problems) -> tuple[str, ...]:
    """The primary region and, if there is one, the failover region.

    Args:
        region: The class's own word.
        failover: The class's ``failoverRegion``.
        default: Used when the class is silent.
        problems: Where everything wrong is noted.
    """
    primary = region or default
    if not primary:
        problems.add(
            "region",
            "is not set: set it in the class's parameters, or AWS_REGION for all classes "
            "(the pod's node has no label topology.kubernetes.io/region to take it from)",
        )
    for field, name in (("region", primary), ("failoverRegion", failover)):
        if name and not _REGION.fullmatch(name):
            problems.add(field, "is not a region: write one such as eu-central-1")
    if failover and failover == primary:
        problems.add("failoverRegion", f"{primary}: failover region cannot be the same as the primary region")
    return tuple(name for name in (primary, failover) if name)


def scope(parameters: Mapping[str, str], default: str) -> Scope:
    """Whom a class asks: the region it names, or else the operator's, or else its node's.

    A class with a failover region has a backend of its own: it is not down when its first region is.
    """
    region = parameters.get("region", "").strip() or default
    asked = [name for name in (region, parameters.get("failoverRegion", "").strip()) if name]
    # A class can say anything, and this becomes a label; what is no region is refused by `fetch`.
    backend = "+".join(asked) if all(_REGION.fullmatch(name) for name in asked) else ""
    return Scope(backend, by_region=not region)
