"""When servers' certificates are made anew, and by whom: the rules of the folder's command and the cluster's Jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyferry.certificates import Authority, Certificate, authority

NAME = "keyferry"
TRUSTED_SECONDS = 86400.0
"""From when on a new authority vouches for servers that another vouches for: clients read whom to trust when they
connect, servers when they start, and by then all have been told."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a server proves itself with, as PEM."""

    certificate: str
    key: str = field(repr=False)


def authority_for(found: Authority | None, now: float) -> Authority:
    """The one that is there, or a new one where there is none or its end is near.

    Args:
        found: The one that is there.
        now: Unix seconds.
    """
    if found is None or Certificate.parse(found.pem).is_due(now):
        return authority(NAME, now)
    return found


def renewed(found: Served | None, by: Authority, hosts: list[str], now: float, since: float = 0.0) -> Served:
    """What a server shall have: the same, as long as that is good.

    Args:
        found: What it has.
        by: Who would vouch for another.
        hosts: Names and addresses that it is reached by.
        now: Unix seconds.
        since: Whatever was made before is not good any more; Unix seconds. A time to come counts for nothing.

    Raises:
        ValueError: what it has is no certificate.
    """
    if found is not None:
        told = Certificate.parse(found.certificate)
        is_ours = told.issuer == NAME  # whoever has brought his own renews them himself
        is_good = not told.is_due(now) and told.hosts >= set(hosts) and (told.made_at >= since or since > now)
        # Clients that have not heard of a new authority would refuse its servers; one that has ended is refused anyway.
        is_known = by.has_issued(found.certificate) or now - Certificate.parse(by.pem).made_at >= TRUSTED_SECONDS
        if is_good or not is_ours or (not is_known and now < told.ends_at):
            return found
    return Served(*by.issue(hosts, now))
