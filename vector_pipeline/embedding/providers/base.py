"""The interface between the client and an embedding API: a provider builds requests and interprets answers.

A provider is one module of this package with a class like `Provider`, and one line in `registry`. It only converts
values: the client sends, waits, retries and splits. docs/architecture.md draws the way of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Protocol

import httpx2
import numpy as np
import regex

from vector_pipeline.embedding.pacing.limits import RateHeaders
from vector_pipeline.embedding.requests import RequestLimits

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

# A number, or the id of one request: OpenAI's API names it in its errors.
_NUMBER = regex.compile(r"(?<![\w-])[\w-]*\d[\w-]*+")


class Purpose(StrEnum):
    """The purpose of a vector: some models embed a question differently from the text that answers it."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model: its dimensions, whether fewer can be requested, and its price in USD for a million tokens."""

    dimensions: int
    takes_dimensions: bool
    usd_per_million_tokens: float
    limits: RequestLimits | None = None
    """The limits of a request to it, if they are lower than its provider's."""
    tokens_per_minute: int | None = None
    """What a processor embeds in a minute, of a model in this process that takes noticeable time."""


@dataclass(frozen=True, slots=True)
class Access:
    """The key, organization and project for the headers of a request. They must never be shown."""

    key: str | None = None
    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """The content of one request: some texts whose vectors are wanted, and their purpose."""

    model: str
    texts: Sequence[str]
    purpose: Purpose = Purpose.DOCUMENT
    dimensions: int | None = None
    """The dimensions that the vectors must have; None if any are accepted."""
    without: frozenset[str] = frozenset()
    """Options that this server has refused before, by the names in `Problem.option`."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the model wants in the body to know the purpose, such as `input_type`."""


class Kind(Enum):
    """What to do about an answer without vectors."""

    RETRY = auto()
    """A temporary failure: wait and send the same request again."""
    RATE_LIMITED = auto()
    """429: send the same request again after the wait that the answer names. Other requests wait too."""
    SPLIT = auto()
    """Too large, or one bad text among good ones: split the request, down to the text that cannot be embedded."""
    WITHOUT = auto()
    """The server does not accept `option`, which is not necessary: send the request again without it."""
    REFUSED = auto()
    """A retry cannot help: key, rights, model or dimensions are wrong."""
    QUOTA = auto()
    """The account has no money left."""
    BROKEN = auto()
    """A 200 that is unusable but billed: send the same request again, a few times."""
    USELESS = auto()
    """Vectors that no search could find, but billed: try once more, then reject the texts."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer without vectors. `wait_seconds` is the wait that it names, or None."""

    kind: Kind
    message: str
    wait_seconds: float | None = None
    option: str = ""
    """The option that the server does not accept, for Kind.WITHOUT."""
    culprit: int | None = None
    """The index of the input that the message names."""
    whole: bool = False
    """Whether the request as a whole was too large, and not one of its texts."""
    of_text: bool = False
    """Whether the message says that a text is wrong. Otherwise "input" in it may mean anything."""
    account: bool = False
    """Whether the request exceeds the account's limit, and not one of the API's."""
    doubtful: bool = False
    """Whether a refusal (Kind.REFUSED) may mean one of the texts, as of a content filter, and not the account."""
    repeatable: bool = False
    """Whether a refusal may mean one of the texts if it is repeated while others are answered. A gateway may refuse a
    text with any status."""
    unseen: bool = False
    """Whether the server never saw the request, so that no text can be the reason."""
    repeated: str | None = None
    """The signature of the failure, if the request failed again and again while the server answered others."""

    @property
    def signature(self) -> str:
        """The kind and the message with all numbers and ids replaced: equal for failures of the same kind."""
        return f"{self.kind.name} {_NUMBER.sub('0', self.message)}"

    @property
    def may_be_of_text(self) -> bool:
        """Whether one of the texts may be the reason for a failure whose message does not say so."""
        if self.kind is Kind.REFUSED:
            return self.doubtful or self.repeatable
        return self.kind in (Kind.RETRY, Kind.BROKEN, Kind.USELESS) and not self.unseen and not self.asks_to_wait

    @property
    def asks_to_wait(self) -> bool:
        """Whether the server asks to wait, as under load or at the account's limit."""
        return self.kind is Kind.RATE_LIMITED or (self.kind is Kind.RETRY and self.wait_seconds is not None)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded answer. `vectors` has the shape (count, dimensions), float32, in the order of the inputs."""

    vectors: Vectors
    tokens: int
    """Tokens billed; 0 if the answer does not say."""
    model: str
    useless: Sequence[int] = ()
    """Indexes of inputs whose vector is missing, cannot be read, holds NaN or a number that pgvector cannot store, or is
    zero. A zero vector has no direction, so no search would find it."""
    ignored: frozenset[str] = frozenset()
    """Options that the server ignored. They need not be sent again."""


class BrokenAnswer(Exception):
    """A 200 with an unusable body: cut short, or with another number of vectors. The request is sent again."""


class HiddenError(Exception):
    """An error with status 200, as some gateways forward errors. `status` is the status that it stands for."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class WrongDimensions(Exception):
    """Vectors of other dimensions than the space has. Another attempt cannot help."""


class Provider(Protocol):
    """One embedding API. Its methods are pure functions of their arguments."""

    @property
    def name(self) -> str:
        """Its name for VECTOR_PIPELINE_PROVIDER. Its key may be in the variable `NAME_API_KEY`."""
        ...

    @property
    def key_variable(self) -> str:
        """The environment variable of its key, for messages."""
        ...

    @property
    def base_url(self) -> str:
        """Its address, unless the settings name another one."""
        ...

    @property
    def path(self) -> str:
        """The path to append to the base URL, with its slash."""
        ...

    @property
    def limits(self) -> RequestLimits:
        """The limits of one request. The settings may lower them."""
        ...

    @property
    def models(self) -> Mapping[str, KnownModel]:
        """Its published models. A model that is not listed is learned from its first answer."""
        ...

    def headers(self, access: Access) -> Mapping[str, str]:
        """The headers of a request, except those of its body."""
        ...

    def body(self, question: Question) -> bytes:
        """The body of a request, JSON. Raises UnicodeEncodeError for a text with a lone surrogate."""
        ...

    def decode(self, content: bytes, question: Question) -> Decoded:
        """Decode an answer with status 200.

        Raises BrokenAnswer if the vectors cannot be matched to the texts, WrongDimensions, and HiddenError.
        """
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: object, clean: Callable[[str], str]) -> Problem:
        """Decide what to do about an answer with an error status.

        `body` is JSON values, or text if it is not JSON. `clean` removes secrets from a text that will be shown.
        """
        ...

    def rate(self, headers: Mapping[str, str], message: str) -> RateHeaders:
        """Read what an answer says about the account's limits. `message` is the text of a 429, else empty."""
        ...

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """A transport that replaces the network; None for the network."""
        ...
