"""Reads what JetStream says to a publisher, and says it in our errors."""

from __future__ import annotations

import json
from typing import Any

import nats.errors
from nats.aio.msg import Msg

from keyferry.errors import BusFull, BusUnavailable, ContentTooLarge, KeyferryError

_FULL = {10023, 10047, 10077, 10122}  # insufficient resources, maximum messages exceeded, and their kin
_TOO_LARGE = 10054
_BYTES = "maximum bytes"
_OF_ONE = "per subject"  # of what a server says of a full subject, with the code of a full stream


def check_ack(message: Msg) -> None:
    """Return if the stream has stored what was published.

    Raises:
        BusUnavailable: no stream takes the subject, or it refused.
        BusFull: the stream is full, or has enough of this subject.
        ContentTooLarge: it takes none so large.
    """
    if message.headers and message.headers.get("Status") == "503":
        raise BusUnavailable(
            "no stream takes the message: run `python -m keyferry.streams` against this NATS, and check JetStream"
        )
    try:
        answer: dict[str, Any] = json.loads(message.data)
    except ValueError:
        raise BusUnavailable("the stream's acknowledgement is unreadable") from None
    error = answer.get("error")
    if error is None:
        return
    if _OF_ONE in str(error.get("description")):
        raise BusFull(
            "the stream takes no more messages of this one sender: fetchers are too few, too slow or stopped, or it is "
            "not alone in its name"
        )
    if _BYTES in str(error.get("description")):
        raise BusFull("the stream takes no more bytes: purge what does not belong there, or raise its limit")
    if error.get("err_code") in _FULL:
        raise BusFull("the stream takes no more messages: fetchers are too few, too slow or stopped")
    if error.get("err_code") == _TOO_LARGE:
        raise _too_large()
    raise BusUnavailable(f"the stream refused a message: {error.get('description')} ({error.get('err_code')})")


def is_good(message: Msg) -> bool:
    """Whether the stream has stored what was published."""
    try:
        check_ack(message)
    except KeyferryError:
        return False
    return True


def refused(error: BaseException) -> KeyferryError:
    """A failure of the client library, as ours."""
    if isinstance(error, nats.errors.MaxPayloadError):
        return _too_large()
    return BusUnavailable(f"NATS does not take messages ({type(error).__name__}): check its servers and permissions")


def _too_large() -> ContentTooLarge:
    return ContentTooLarge("a message is larger than NATS takes: mount fewer or smaller objects, or raise max_payload")
