"""What the server keeps to and how it misbehaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Fault = Literal[
    "500",  # an error before any work, with an HTML body as a gateway sends it
    "reset",  # the connection breaks in the middle of the answer: worked and billed, never received
    "hang",  # no answer for `hang_seconds`, then the connection closes; nothing is billed
    "429",  # a rate limit that is none, naming a wait of 0.2 s
    "503",  # a server under load, naming a wait of 0.05 s
    "truncated",  # a 200 whose JSON is cut short
    "missing",  # a vector fewer than inputs
    "extra",  # one more
    "nan",  # a NaN in a vector
    "twice",  # one index twice, another not at all
    "drip",  # an answer that comes byte by byte and never ends; worked and billed
]


Poison = Literal[
    "500",  # an error after the work, as of a model whose vector for the text is NaN
    "500 and id",  # the same with an id of its own in each message, as OpenAI's API writes them
    "503 and wait",  # a gateway that names a wait of 0.05 s
    "429",  # a rate limit that names no wait
    "429 and wait",  # a rate limit that names a wait of 0.05 s
    "401",  # a gateway that takes the text for a wrong key
    "403",  # a page of a firewall that takes the text for an attack
    "404",  # a gateway that takes the text for a wrong path
    "302",  # a firewall that sends the text to a page of its own
    "413",  # a gateway that finds the request too large
    "filter",  # a 400 of a filter of contents
    "reset",  # the connection breaks before an answer
    "hang",  # no answer for `hang_seconds`
    "cut",  # a 200 whose JSON is cut short
    "null",  # `null` in place of the text's vector
    "empty",  # an empty vector
    "short",  # a vector of half the dimensions
    "huge",  # numbers that a `halfvec` cannot hold
    "tiny",  # numbers that a `halfvec` rounds to zero
    "drop",  # the text's vector left out, the others under their own index
    "renumbered",  # the text's vector left out, the others numbered anew
    "NaN",  # NaN as a word in the JSON, which is none by the standard
]


@dataclass(frozen=True)
class ServerConfig:
    """The account's limits, the model's, and what goes wrong. Times in seconds."""

    model: str = "text-embedding-3-small"
    other_models: tuple[str, ...] = ()
    """Further models that it answers for; the account's limits are counted for all together."""
    dimensions: int = 1_536
    takes_dimensions: bool = True
    key: str | None = None
    """The only key that is let in; any where unset."""

    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None
    initial_fill: float = 1.0
    """How full the buckets are at the start."""
    bucket_seconds: float = 60.0
    """How much of the limit a bucket holds."""
    counts: Literal["tokens", "bytes/4"] = "tokens"
    """How the limiter weighs texts."""
    sends_headers: bool = True
    names_wait: Literal["headers", "message"] = "headers"

    max_inputs: int = 2_048
    max_tokens_per_input: int = 8_192
    max_tokens_per_request: int = 300_000
    request_gate: Literal["tokens", "bytes/4"] = "tokens"

    latency: float = 0.0
    latency_per_token: float = 0.0
    parallel: int | None = None
    """How many requests the server works on at once; the others wait inside."""

    style: Literal["openai", "vllm", "tei", "ollama"] = "openai"
    """In whose manner errors are spelled."""
    base64: Literal["yes", "ignored", "refused"] = "yes"
    shuffled: bool = False
    """Whether vectors come in another order than their index."""
    faults: dict[Fault, float] = field(default_factory=dict)
    """How likely each fault is, request by request; drawn from `seed`."""
    hang_seconds: float = 30.0
    seed: int = 1

    refuses: tuple[int, dict[str, object]] | None = None
    """A status and error body with which every request is answered."""
    quota_after: int | None = None
    """Requests after which there is no money left."""
    refuses_other_fields: bool = False
    """Whether a body with a field that OpenAI's API lacks is refused."""
    bad_word: str | None = None
    """Texts with this word are refused, without naming which of the request's texts it was."""

    poison_word: str | None = None
    """A request with this word in one of its texts fails each time, as `poison` says; the others succeed."""
    poison: Poison = "500"

    useless_word: str | None = None
    """Texts with this word are answered with a vector of zeros."""

    batch_queue_tokens: int | None = None
    batch_validates: bool = False
    """Whether it is told of a full queue only when a batch that was taken on is asked for, as the API does it."""
    batch_seconds: float = 0.0
    """How long a batch takes."""
    batch_ends: Literal["completed", "expired", "failed", "cancelled"] = "completed"
    batch_fails_word: str | None = None
    """Lines of a batch with this word in them end in its error file."""
