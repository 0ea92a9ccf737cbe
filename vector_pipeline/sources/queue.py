"""A queue of SQS that receives the events of buckets.

Credentials come from where S3's come from (environment, instance role, configuration files). The region is that of the
URL; a URL of another server than Amazon's names its endpoint too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from vector_pipeline.errors import ConfigurationError, SourceError, one_line
from vector_pipeline.settings import variable
from vector_pipeline.sources.events import Message

A_BATCH = 10
"""The most messages that SQS gives or deletes with one request."""

LOOK_SECONDS = 1
"""How long a request waits for messages: without a wait SQS asks only some of its servers, and may find none."""

HIDDEN_SECONDS = 300
"""A message that was received and not deleted is received again after this time."""

# The hosts of SQS: sqs.eu-west-1.amazonaws.com, eu-west-1.queue.amazonaws.com, and those of China.
_AMAZON = re.compile(r"(?:sqs\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.(?:queue\.)?amazonaws\.com(?:\.cn)?")


class EventQueue:
    """The messages of one queue."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError if the package for it is not installed, or no region is known."""
        self.url = url
        self._client = _client(url)

    def receive(self, at_most: int, *, wait_seconds: int = LOOK_SECONDS) -> list[Message]:
        """Up to so many messages; the first request waits for them. Raises SourceError if the queue cannot be read."""
        messages: list[Message] = []
        while len(messages) < at_most:
            with self._explained():
                found = self._client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=min(A_BATCH, at_most - len(messages)),
                    WaitTimeSeconds=0 if messages else wait_seconds,
                    VisibilityTimeout=HIDDEN_SECONDS,
                ).get("Messages", ())
            messages += [Message(message["Body"], message["ReceiptHandle"]) for message in found]
            if not found:
                break
        return messages

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages. One that cannot be deleted comes again, which does no harm. Raises SourceError."""
        receipts = list(dict.fromkeys(message.receipt for message in messages))
        for start in range(0, len(receipts), A_BATCH):
            some = receipts[start : start + A_BATCH]
            entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(some)]
            with self._explained():
                self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise SourceError(f"the queue of {variable('events_url')} '{self.url}' {_problem(code, error)}") from error
        except BotoCoreError as error:
            raise SourceError(
                f"the queue of {variable('events_url')} '{self.url}' cannot be reached: {one_line(error)}"
            ) from error


def _problem(code: str, error: Exception) -> str:
    if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
        return "does not exist: correct the URL with its region, or create the queue"
    if "AccessDenied" in code:
        return f"may not be read: grant sqs:ReceiveMessage and sqs:DeleteMessage on it ({one_line(error)})"
    return f"cannot be read: {one_line(error)}"


def _client(url: str) -> Any:
    try:
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ConfigurationError(
            f"{variable('events_url')} needs a package that is not installed; run `pip install 'vector-pipeline[s3]'`"
        ) from error
    address = urlsplit(url)
    amazon = _AMAZON.fullmatch(address.hostname or "")
    endpoint = None if amazon else f"{address.scheme}://{address.netloc}"
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
    try:
        session = botocore.session.get_session()
        region = amazon["region"] if amazon else session.get_config_variable("region") or "us-east-1"
        return session.create_client("sqs", region_name=region, endpoint_url=endpoint, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"{variable('events_url')} is '{url}' and cannot be used: {one_line(error)}") from error
