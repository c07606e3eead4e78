"""Gets the files of a content from the bus, when they are needed and for no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyferry.bus import Bus
from keyferry.errors import UntrustedMessage
from keyferry.handover import SecretsFetched
from keyferry.keys import KeyFile, PublicKeys, SyncerKeys
from keyferry.subjects import sync_subject

_STREAM = "SYNC"


@dataclass(frozen=True, slots=True)
class Handed:
    """A content as a fetcher handed it over.

    Attributes:
        fetched_at_ms: When the backend gave it, Unix milliseconds.
        files: Contents by path.
    """

    fetched_at_ms: int
    files: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Contents:
    """What fetchers have handed over.

    Attributes:
        bus: Where it is kept, sealed to us.
        public: To verify that a fetcher signed it.
        keys: To open it.
    """

    bus: Bus
    public: KeyFile[PublicKeys]
    keys: KeyFile[SyncerKeys]

    async def find(self, namespace: str, content_key: str) -> Handed | None:
        """A content; None where no fetcher has handed it over yet, or what it did has expired.

        Raises:
            UntrustedMessage: what is there is forged, or sealed to keys that are not ours.
            BusUnavailable: it cannot be told now.
        """
        found = await self.bus.last(_STREAM, sync_subject(namespace, content_key))
        if found is None:
            return None
        fetched = SecretsFetched.from_bytes(found.payload, self.public.keys)
        if (fetched.namespace, fetched.content_key) != (namespace, content_key):
            raise UntrustedMessage("a content lies under the subject of another")
        files = fetched.open(self.keys.keys.opener(fetched.sealed))
        return Handed(fetched.fetched_at_ms, {file.path: file.contents for file in files})
