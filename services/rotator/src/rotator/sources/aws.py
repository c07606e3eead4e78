"""Hears of changes in AWS from an SQS queue that EventBridge rules write to."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from keyferry.errors import ProviderUnavailable
from rotator.sources import aws_events
from rotator.sources.document import Malformed
from rotator.sources.heard import Heard
from rotator.sources.pending import everything
from rotator.sources.reconnecting import Pauses, Stands, for_ever
from rotator.sources.settings import AwsEvents
from rotator.sources.source import Clock, Emit

_T = TypeVar("_T")

_REGION = re.compile(r"https://sqs(?:-fips)?\.([a-z0-9-]+)\.")

_BATCH = 10  # the most that SQS gives at once
_LONGEST_BODY = 1024 * 1024  # the most that SQS takes
_GAP_SECONDS = 3600.0  # a queue keeps messages from one minute to 14 days: from an hour on we do not rely on it


class AwsSource:
    """Long polling, ten messages at a time.

    A message is deleted when its change is on the bus, or can never be understood; otherwise it is there again a moment
    later.

    Args:
        settings: Of this source.
        pauses: Between tries to reach the queue.
        now: Unix seconds.
        wait_seconds: How long one poll waits for messages; SQS allows 20.
        retry_seconds: After how long a message comes again whose change could not be told.
    """

    name = "aws"

    def __init__(
        self,
        settings: AwsEvents,
        *,
        pauses: Pauses = Pauses(),  # noqa: B008 - frozen
        now: Clock = time.time,
        wait_seconds: int = 20,
        retry_seconds: int = 5,
    ) -> None:
        self._settings, self._pauses = settings, pauses
        self._wait, self._retry = wait_seconds, retry_seconds
        self._heard = Heard(self.name, now)

    async def run(self, emit: Emit) -> NoReturn:
        """See `Source`."""

        async def hear(stands: Stands) -> None:
            await self._hear(emit, stands)

        await for_ever(self._heard, hear, self._pauses)

    async def _hear(self, emit: Emit, stands: Stands) -> None:
        client = await asyncio.to_thread(_called, self._connect)
        poll = 0  # the first one returns at once, to learn whether the queue is there
        while True:
            messages = await self._poll(client, poll)
            if _GAP_SECONDS < stands() < float("inf"):
                await self._heard.tell(emit, self.name, everything())
            poll = self._wait
            if messages:
                await self._take(client, messages, emit)

    def _connect(self) -> Any:
        settings = self._settings
        config = Config(
            connect_timeout=5,
            read_timeout=self._wait + 10,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=4,
        )
        told = _REGION.match(settings.queue_url)
        session = boto3.session.Session(region_name=settings.region or (told[1] if told else None))
        client: Any = session.client("sqs", endpoint_url=settings.endpoint or None, config=config)
        return client

    async def _poll(self, client: Any, seconds: int) -> Sequence[Mapping[str, Any]]:
        """Up to ten messages.

        The call sits in a daemon thread: whoever stops us need not wait for the poll. What it still brings is then
        given back to the queue, for another rotator.
        """
        loop, stopped = asyncio.get_running_loop(), threading.Event()
        future: asyncio.Future[Sequence[Mapping[str, Any]]] = loop.create_future()

        def poll() -> None:
            answer: Sequence[Mapping[str, Any]] = ()
            failure: Exception | None = None
            try:
                answer = _called(lambda: self._receive(client, seconds))
            except Exception as error:  # noqa: BLE001 - raised again where it is awaited
                failure = error
            if stopped.is_set():
                _give_back(client, self._settings.queue_url, answer)
            else:
                loop.call_soon_threadsafe(_settle, future, answer, failure)

        threading.Thread(target=poll, name="sqs-poll", daemon=True).start()
        try:
            return await future
        except asyncio.CancelledError:
            stopped.set()
            raise

    def _receive(self, client: Any, seconds: int) -> Sequence[Mapping[str, Any]]:
        answer = client.receive_message(
            QueueUrl=self._settings.queue_url,
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=seconds,
            VisibilityTimeout=self._settings.visibility,
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        return messages

    async def _take(self, client: Any, messages: Sequence[Mapping[str, Any]], emit: Emit) -> None:
        try:
            done = await asyncio.gather(*(self._settled(message, emit) for message in messages))
        except asyncio.CancelledError:
            # Told twice at worst. Not awaited: it ends by itself, or with the process.
            threading.Thread(target=_give_back, args=(client, self._settings.queue_url, messages), daemon=True).start()
            raise
        finished = [m["ReceiptHandle"] for m, is_done in zip(messages, done, strict=True) if is_done]
        again = [m["ReceiptHandle"] for m, is_done in zip(messages, done, strict=True) if not is_done]
        await asyncio.to_thread(
            _called, lambda: _finish(client, self._settings.queue_url, finished, again, self._retry)
        )

    async def _settled(self, message: Mapping[str, Any], emit: Emit) -> bool:
        """Whether a message need not come again."""
        body = str(message.get("Body", ""))
        try:
            if len(body) > _LONGEST_BODY:
                raise Malformed("it is longer than SQS takes")
            change = aws_events.change(body)
        except Malformed as error:
            self._heard.refuse("malformed", f"a message in the queue is no event of EventBridge: {error}")
            return True
        if change is None:
            self._heard.count("irrelevant")
            return True
        return await self._heard.tell(emit, self.name, change)


def _finish(client: Any, queue: str, finished: Sequence[str], again: Sequence[str], retry: int) -> None:
    if finished:
        entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(finished)]
        client.delete_message_batch(QueueUrl=queue, Entries=entries)
    if again:
        _hide(client, queue, again, retry)


def _hide(client: Any, queue: str, handles: Sequence[str], seconds: int) -> None:
    entries = [
        {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": seconds} for n, handle in enumerate(handles)
    ]
    client.change_message_visibility_batch(QueueUrl=queue, Entries=entries)


def _give_back(client: Any, queue: str, messages: Sequence[Mapping[str, Any]]) -> None:
    """Let others have them at once; where that fails, they are visible again by themselves."""
    if messages:
        try:
            _hide(client, queue, [message["ReceiptHandle"] for message in messages], 0)
        except (ClientError, BotoCoreError):
            return


def _settle(
    future: asyncio.Future[Sequence[Mapping[str, Any]]],
    answer: Sequence[Mapping[str, Any]],
    failure: Exception | None,
) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(answer)
    else:
        future.set_exception(failure)


def _called(call: Callable[[], _T]) -> _T:
    """A call to SQS, its errors in words that quote nothing of what was sent."""
    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))[:100]
        raise ProviderUnavailable(f"SQS refuses: {code}; check the queue's URL and the rotator's permissions") from None
    except BotoCoreError as error:
        raise ProviderUnavailable(f"SQS cannot be asked: {type(error).__name__}") from None
