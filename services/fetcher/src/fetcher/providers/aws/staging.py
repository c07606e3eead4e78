"""Asks which version of a secret is the wanted one, by DescribeSecret: no key is used and no value moves for it."""

from __future__ import annotations

from fetcher.providers.aws.access import Access
from fetcher.providers.aws.denials import Denials
from fetcher.providers.aws.faults import Fault
from fetcher.providers.aws.wanted import SECRETS_MANAGER, Wanted

CURRENT = "AWSCURRENT"


async def is_unchanged(access: Access, wanted: Wanted, held: str, denials: Denials) -> bool:
    """Whether reading it would yield the version that is held already.

    A pinned version is asked for too, though it can never change: it may be gone, or be no longer ours to see.

    Args:
        access: To one region.
        wanted: The secret.
        held: A version id.
        denials: Asked before, and told after.

    Raises:
        KeyferryError: AWS cannot answer now, or does not know the credentials.
    """
    if denials.holds(access.identity):
        return False
    try:
        answer = await access.call(SECRETS_MANAGER, "describe_secret", SecretId=wanted.name)
    except Fault as fault:
        if fault.is_transient or fault.condemns_credentials:
            raise fault.explain(f"describing secret {wanted} {access}") from None
        if fault.means_no_permission:
            denials.add(access.identity)
        return False
    versions = answer.get("VersionIdsToStages")
    labels = versions.get(held) if isinstance(versions, dict) else None
    # A secret that is marked for deletion can be described, but not read; a version without labels may be gone soon.
    if not isinstance(labels, list) or answer.get("DeletedDate"):
        return False
    if wanted.version and wanted.version != held:
        return False
    return (wanted.label or CURRENT) in labels if wanted.label or not wanted.version else True
