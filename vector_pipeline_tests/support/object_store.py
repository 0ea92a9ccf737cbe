"""A real S3 server (moto's, over HTTP), and events of its buckets in a queue of SQS."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.session
from moto.server import ThreadedMotoServer


@contextmanager
def serve_store(address: str) -> Iterator[dict[str, str]]:
    """A server without buckets at a loopback address; yields the variables by which clients find it."""
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        # Its buckets live as long as this process, and a server before this one may have left some.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"").close()
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
    finally:
        server.stop()


class Events:
    """A queue of SQS on the same server, and ways by which events of the bucket `texts` come to it."""

    def __init__(self, name: str = "events") -> None:
        self.sqs = client("sqs")
        self.url = str(self.sqs.create_queue(QueueName=name)["QueueUrl"])
        self.arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"

    def from_s3(self) -> None:
        """Notifications of S3 itself: it sends a test message first."""
        self._notify({"QueueConfigurations": [{"QueueArn": self.arn, "Events": _ALL}]})

    def through_sns(self) -> None:
        """The same notifications in the envelope of a topic."""
        sns = client("sns")
        topic = sns.create_topic(Name="texts")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self.arn)
        self._notify({"TopicConfigurations": [{"TopicArn": topic, "Events": _ALL}]})

    def through_event_bridge(self) -> None:
        """Events of EventBridge, by a rule whose target is the queue."""
        bridge = client("events")
        bridge.put_rule(Name="texts", EventPattern='{"source": ["aws.s3"]}')
        bridge.put_targets(Rule="texts", Targets=[{"Id": "queue", "Arn": self.arn}])
        self._notify({"EventBridgeConfiguration": {}})

    def send(self, body: str) -> None:
        """Any message."""
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    @property
    def left(self) -> int:
        """The number of messages that are not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    @staticmethod
    def _notify(configuration: dict[str, Any]) -> None:
        client("s3").put_bucket_notification_configuration(Bucket="texts", NotificationConfiguration=configuration)


_ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


def client(service: str) -> Any:
    """A client of a service of Amazon, which finds the server by the environment."""
    return botocore.session.get_session().create_client(service)
