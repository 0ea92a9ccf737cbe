"""The API's rate limiter as live messages show it: buckets that refill all the time and hold one minute's limit."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vector_pipeline_tests.support.openai_server.config import ServerConfig

ORGANIZATION = "org-test"


@dataclass
class _Bucket:
    limit: float
    capacity: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.at) * self.limit / 60)
        self.at = now


@dataclass(frozen=True)
class Refusal:
    """Why a request is not admitted; `wait` is None where it never will be."""

    message: str
    kind: str
    wait: float | None


class Limiter:
    """Admits requests by number and by tokens. A request that is not admitted takes nothing."""

    def __init__(self, config: ServerConfig) -> None:
        self._started = False

        def bucket(limit: int | None, now: float = 0.0) -> _Bucket | None:
            if limit is None:
                return None
            capacity = limit * config.bucket_seconds / 60
            return _Bucket(limit, capacity, capacity * config.initial_fill, now)

        self._model = config.model
        self._requests = bucket(config.requests_per_minute)
        self._tokens = bucket(config.tokens_per_minute)

    def start(self) -> None:
        """Let the buckets begin to fill now; without effect later on."""
        if not self._started:
            self._started = True
            for bucket in (self._requests, self._tokens):
                if bucket is not None:
                    bucket.at = time.monotonic()

    def admit(self, tokens: int) -> Refusal | None:
        """Take one request of so many tokens, or say why not."""
        self.start()
        now = time.monotonic()
        for bucket, amount, name, kind in (
            (self._requests, 1, "requests per min (RPM)", "requests"),
            (self._tokens, tokens, "tokens per min (TPM)", "tokens"),
        ):
            if bucket is None:
                continue
            bucket.refill(now)
            start = f"{self._model} in organization {ORGANIZATION} on {name}: Limit {bucket.limit:.0f},"
            if amount > bucket.limit:
                return Refusal(
                    f"Request too large for {start} Requested {amount}. The input or output tokens must be "
                    "reduced in order to run successfully. "
                    "Visit https://platform.openai.com/account/rate-limits to learn more.",
                    kind,
                    None,
                )
            if bucket.level < amount:
                wait = (amount - bucket.level) * 60 / bucket.limit
                shown = f"{wait * 1000:.0f}ms" if wait < 1 else f"{wait:.3f}s"
                return Refusal(
                    f"Rate limit reached for {start} Used {bucket.limit - bucket.level:.0f}, Requested {amount}. "
                    f"Please try again in {shown}. "
                    "Visit https://platform.openai.com/account/rate-limits to learn more.",
                    kind,
                    wait,
                )
        if self._requests:
            self._requests.level -= 1
        if self._tokens:
            self._tokens.level -= tokens
        return None

    def headers(self) -> dict[str, str]:
        """What is left, at this moment."""
        headers = {}
        for bucket, name in ((self._requests, "requests"), (self._tokens, "tokens")):
            if bucket is not None:
                bucket.refill(time.monotonic())
                headers[f"x-ratelimit-limit-{name}"] = f"{bucket.limit:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = f"{max(0, int(bucket.level))}"
                missing = (bucket.capacity - bucket.level) * 60 / bucket.limit
                headers[f"x-ratelimit-reset-{name}"] = f"{missing:.3f}s"
        return headers
