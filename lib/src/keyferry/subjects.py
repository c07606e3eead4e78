"""The subjects of the bus. They carry no secret names: a node, a volume id, never a class or an object."""

from __future__ import annotations

import re
from hashlib import sha256

END_SUBJECT = "keyferry.fetch.end"
"""Where the rotator tells fetchers that nobody holds a content any more."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_token(text: str) -> bool:
    """Whether a text can stand as one token of a subject."""
    return _TOKEN.fullmatch(text) is not None


def node_token(node: str) -> str:
    """A node's name as one subject token: dots become underscores, which no node name has (RFC 1123)."""
    return node.replace(".", "_")


def volume_token(volume_id: str) -> str:
    """A volume id as one subject token; foreign ids are hashed."""
    return volume_id if is_token(volume_id) else sha256(volume_id.encode()).hexdigest()


def mount_subject(node: str) -> str:
    """Where a node asks for a first publish."""
    return f"keyferry.fetch.mount.{node_token(node)}"


def refresh_subject(node: str) -> str:
    """Where a node asks again, behind all mounts."""
    return f"keyferry.fetch.refresh.{node_token(node)}"


def volume_subject(node: str, volume_id: str) -> str:
    """Where a node tells of a volume; the stream keeps the last message of each."""
    return f"keyferry.volume.{node_token(node)}.{volume_token(volume_id)}"


def hint_subject(node: str) -> str:
    """Where a node hears that contents of its volumes are due."""
    return f"keyferry.refresh.{node_token(node)}"


def change_subject(source: str) -> str:
    """Where changes are told, by the provider they concern; ``kubernetes`` for those of the cluster itself."""
    return f"keyferry.change.{source if is_token(source) else sha256(source.encode()).hexdigest()}"


def sync_subject(namespace: str, content_key: str) -> str:
    """Where a fetcher hands a content to the syncers; the stream keeps the last of each."""
    return f"keyferry.sync.{namespace}.{content_key}"


def inbox_prefix(node: str) -> str:
    """What begins the subjects that only this node may subscribe to.

    The node is a token of its own, so that fetchers can be allowed all of these and nothing else.
    """
    return f"_INBOX.node.{node_token(node)}"


def service_inbox(name: str) -> str:
    """What begins the subjects that only this service may subscribe to; none of them is a node's, whatever its name."""
    return f"_INBOX.{name}"


def reply_subject(node: str, request_id: str) -> str:
    """Where the fetcher answers. Made from what the request proves, so that no header can send an answer elsewhere."""
    return f"{inbox_prefix(node)}.{request_id}"
