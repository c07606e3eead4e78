"""Gets the files of a content from the bus, when they are needed and for no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyferry.bus import Bus
from keyferry.errors import ProviderUnavailable, UntrustedMessage
from keyferry.handover import SecretsFetched
from keyferry.keys import KeyFile, PublicKeys, SyncerKeys
from keyferry.subjects import sync_subject

_STREAM = "SYNC"


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

    async def files(self, namespace: str, content_key: str) -> Mapping[str, bytes]:
        """The files of a content, by path.

        Raises:
            ProviderUnavailable: no fetcher has handed it over yet, or what it did has expired.
            UntrustedMessage: what is there is forged, or sealed to keys that are not ours.
            BusUnavailable: it cannot be told now.
        """
        found = await self.bus.last(_STREAM, sync_subject(namespace, content_key))
        if found is None:
            raise ProviderUnavailable(
                f"the content of namespace {namespace} is not on the bus: it comes with the next fetch, at the latest "
                "when its volumes are refreshed",
                retry_after=5.0,
            )
        fetched = SecretsFetched.from_bytes(found.payload, self.public.keys)
        if (fetched.namespace, fetched.content_key) != (namespace, content_key):
            raise UntrustedMessage("a content lies under the subject of another")
        return {file.path: file.contents for file in fetched.open(self.keys.keys.opener(fetched.sealed))}
