"""Which provider answers to a name: one of our own, else a plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fetcher.provider import Provider
from fetcher.providers.plugin.fetch import Client, Plugin


class Offered(Mapping[str, Provider]):
    """Every name has a provider: whether a plugin is there to serve it is seen when it is asked.

    Args:
        ours: The backends that are built in and opened; their names never reach a plugin.
        client: What speaks to the plugins.
    """

    def __init__(self, ours: Mapping[str, Provider], client: Client) -> None:
        self._ours = ours
        self._client = client

    def __getitem__(self, name: str) -> Provider:
        return self._ours[name] if name in self._ours else Plugin(name, self._client)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ours)

    def __len__(self) -> int:
        return len(self._ours)
