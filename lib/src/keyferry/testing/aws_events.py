"""An emulated AWS with EventBridge and SQS: what changes arrives in a queue, as a rule on the default bus has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from keyferry.testing.aws import KEY, REGION, ministack
from keyferry.testing.ports import free_port
from keyferry.testing.processes import Server

_SERVICES = "secretsmanager,ssm,sts,iam,kms,sqs,events"


@dataclass(frozen=True)
class AwsEventsServer:
    """A running emulator (ministack). The methods run in a thread and raise botocore's exceptions."""

    process: Server
    endpoint_url: str
    _session: boto3.session.Session = field(repr=False)

    async def call(self, service: str, method: str, **arguments: Any) -> Any:
        """Call a method of a boto3 client."""
        return await asyncio.to_thread(self._call, service, method, arguments)

    def _call(self, service: str, method: str, arguments: dict[str, Any]) -> Any:
        make: Any = self._session.client
        with contextlib.closing(make(service, endpoint_url=self.endpoint_url, config=Config(proxies={}))) as client:
            return getattr(client, method)(**arguments)

    async def create_queue(self, name: str) -> str:
        """A queue; returns its URL."""
        answer = await self.call("sqs", "create_queue", QueueName=name)
        return str(answer["QueueUrl"])

    async def route_changes(self, queue: str) -> None:
        """Have a rule send events of Secrets Manager and Parameter Store to a queue."""
        about = await self.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=["QueueArn"])
        name = queue.rpartition("/")[2]
        pattern = json.dumps({"source": ["aws.secretsmanager", "aws.ssm"]})
        await self.call("events", "put_rule", Name=name, EventPattern=pattern)
        target = {"Id": "queue", "Arn": about["Attributes"]["QueueArn"]}
        await self.call("events", "put_targets", Rule=name, Targets=[target])

    async def send(self, queue: str, *bodies: str) -> None:
        """Put messages into a queue."""
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            await self.call("sqs", "send_message_batch", QueueUrl=queue, Entries=entries)

    async def left(self, queue: str) -> int:
        """How many messages a queue has, those that somebody holds included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        about = await self.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=names)
        return sum(int(about["Attributes"][name]) for name in names)


@contextmanager
def aws_events_server(directory: Path) -> Iterator[AwsEventsServer]:
    """Run ministack on loopback.

    Args:
        directory: Its home and temporary folder; holds the log.

    Raises:
        ServerError: If it does not come up.
    """
    with ministack(directory, free_port(), _SERVICES) as (process, url):
        yield AwsEventsServer(process, url, boto3.session.Session(KEY, KEY, region_name=REGION))
