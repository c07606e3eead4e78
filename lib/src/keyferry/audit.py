"""Who got what: a record for each content that is delivered or refused, on a logger that can be routed by itself.

A record is written before its answer leaves, so that none leaves without one; the node may still fail to receive it. It
names objects and versions, never a value: what could hold one (files, tokens) is no part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import WatchedFileHandler
from typing import Any, Literal

from keyferry.errors import KeyferryError
from keyferry.resources import Content, Pod, SecretProviderClass
from keyferry.telemetry.logs import JsonFormatter

NAME = "keyferry.audit"
LOGS, OFF = "", "off"

Origin = Literal["backend", "lease", "shared", "stale"]
"""Where a content came from: the ``backend`` was asked for this very request, or its ``lease`` renewed for it; it was
``shared``, fetched for another request; or it is ``stale``: the backend was away, and the class takes what there is."""

_log = logging.getLogger(NAME)


@dataclass(slots=True)
class Record:
    """What is known of one request, filled in as it becomes known.

    Attributes:
        node: Who asks; the bus has shown that it is this node, unless ``verified`` is false.
        volume_id: For which volume.
        request_id: Of the node's request; its attempts share it.
        pod: For whom, once the request is open.
        verified: Whether the pod's token has proven pod and node. A refusal without it names who was claimed.
        purpose: A first publish or a refresh.
        secret_provider_class: Once it was found; before that, what was asked for.
        provider: Of the class.
    """

    node: str
    volume_id: str
    request_id: str
    pod: Pod | None = None
    verified: bool = False
    purpose: Literal["", "mount", "refresh"] = ""
    secret_provider_class: str = ""
    provider: str = ""

    def of_class(self, spc: SecretProviderClass) -> None:
        """The class has been found."""
        self.secret_provider_class, self.provider = spc.name, spc.provider

    def deliver(self, content: Content, origin: Origin, *, unchanged: bool) -> None:
        """It gets this content, or is told that it has it already."""
        self._write(
            logging.INFO,
            "content delivered",
            outcome="unchanged" if unchanged else "delivered",
            origin="stale" if content.stale_since_ms else origin,
            objects=[{"id": each.id, "version": each.version} for each in content.versions],
            left_out=list(content.left_out),
            content_key=content.content_key,
            fetched_at_ms=content.fetched_at_ms,
        )

    def refuse(self, error: KeyferryError) -> None:
        """It gets nothing. The reason alone: a message is foreign text in part, and stands in the fetcher's own log."""
        self._write(logging.WARNING, "content refused", outcome="refused", reason=error.reason, code=error.code)

    def _write(self, level: int, message: str, **what: Any) -> None:
        if not _log.isEnabledFor(level):
            return
        pod = self.pod
        who = {
            "namespace": pod.namespace if pod else "",
            "pod": str(pod) if pod else "",
            "pod_uid": pod.uid if pod else "",
            "service_account": pod.service_account if pod else "",
            "verified": self.verified,
            "node": self.node,
            "volume_id": self.volume_id,
            "request_id": self.request_id,
            "purpose": self.purpose,
            "secret_provider_class": self.secret_provider_class,
            "provider": self.provider,
        }
        _log.log(level, message, extra={**who, **what})


@contextmanager
def written_to(where: str, service: str) -> Iterator[None]:
    """Write records there for as long as the block lasts, whatever level the other logs have.

    Args:
        where: `LOGS` for among the service's logs, `OFF` for nowhere, else the path of a file that is appended to, such
            as ``/dev/stdout``; it may be moved away while it is written to.
        service: What the records call it.

    Raises:
        OSError: the file cannot be opened.
    """
    before = _log.level, _log.propagate
    handler: logging.Handler | None = None
    if where not in (LOGS, OFF):
        handler = WatchedFileHandler(where)
        handler.setFormatter(JsonFormatter(service))
        _log.addHandler(handler)
    _log.setLevel(logging.CRITICAL + 1 if where == OFF else logging.INFO)
    _log.propagate = where == LOGS
    try:
        yield
    finally:
        _log.setLevel(before[0])
        _log.propagate = before[1]
        if handler is not None:
            _log.removeHandler(handler)
            handler.close()
