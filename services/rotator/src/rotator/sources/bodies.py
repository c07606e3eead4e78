"""Reads bodies to their end, or to the end of our patience."""

from __future__ import annotations

import aiohttp


class TooLarge(Exception):
    """There is more than may be."""


async def whole(stream: aiohttp.StreamReader, most: int) -> bytes:
    """All of a body.

    Raises:
        TooLarge: it is longer than ``most`` bytes.
    """
    found = bytearray()
    async for part in stream.iter_any():
        found += part
        if len(found) > most:
            raise TooLarge
    return bytes(found)
