"""What a backend gave, made into a content: limits, versions, digest and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fetcher.kept import Kept, assemble
from fetcher.provider import ANYWHERE, Answer, ProviderRequest, Scope, Secret
from keyferry.errors import ContentTooLarge
from keyferry.keys import FetcherKeys
from keyferry.resources import MAX_CONTENT_BYTES, Content, SecretProviderClass


def content_key(keys: FetcherKeys, spc: SecretProviderClass, request: ProviderRequest, scope: Scope = ANYWHERE) -> str:
    """A keyed MAC over all that decides what the backend answers; equal only when the same identity asks the same.

    Args:
        keys: For the MAC.
        spc: Which backend.
        request: What is asked, and as whom.
        scope: What else the answer depends on.
    """
    pod = request.pod
    parts = (
        spc.provider.encode(),
        pod.namespace.encode(),
        pod.service_account.encode(),
        f"{pod.name}/{pod.uid}".encode() if scope.by_pod else b"",
        request.region.encode() if scope.by_region else b"",
        # Each mapping as one part: an entry must not be able to pass for one of another mapping.
        keys.mac("parameters", *_flat(request.parameters)),
        keys.mac("annotations", *_flat(request.service_account_annotations)),
        keys.mac("node-publish-secret", *_flat(request.node_publish_secret)),
    )
    return keys.mac("content-key", *parts).hex()[:32]


def build(
    keys: FetcherKeys, secrets: Sequence[Secret], *, provider: str, key: str, fetched_at_ms: int, mode: int
) -> Kept:
    """A content from what a backend gave.

    Args:
        keys: For the keyed MACs.
        secrets: The files, in the class's order; an `Answer` has more to say.
        provider: Which backend.
        key: The content key.
        fetched_at_ms: When it was asked.
        mode: For files that name none.

    Raises:
        ContentTooLarge: the files add up to more than a volume may hold.
    """
    answer = secrets if isinstance(secrets, Answer) else Answer(tuple(secrets))
    _check_size(answer)
    files = [s if s.mode is not None else replace(s, mode=mode) for s in answer]
    ordered = sorted(files, key=lambda file: file.path)
    flat = [part for f in ordered for part in (f.path.encode(), (f.mode or 0).to_bytes(2, "big"), f.contents)]
    versions = {s.object_id: s.version or keys.mac("version", s.contents).hex()[:16] for s in reversed(files)}
    about = Content(provider, key, keys.mac("content", *flat), fetched_at_ms, (), None)
    return assemble(files, versions, about, left_out=answer.left_out, lease=answer.lease)


def _check_size(secrets: Sequence[Secret]) -> None:
    total = sum(len(s.contents) for s in secrets)
    if total <= MAX_CONTENT_BYTES:
        return
    largest = max(secrets, key=lambda s: len(s.contents))
    raise ContentTooLarge(
        f"the objects of the class add up to {total} bytes, {MAX_CONTENT_BYTES} are the limit: "
        f'split the class; its largest object is "{largest.object_id}" with {len(largest.contents)} bytes'
    )


def _flat(mapping: Mapping[str, str]) -> list[bytes]:
    return [part.encode() for name in sorted(mapping) for part in (name, mapping[name])]
