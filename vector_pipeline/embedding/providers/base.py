"""What an embedding API is to the client: a provider says how to ask it and what its answers mean.

A provider is one module of this package with a class like `Provider`, and one line in `registry`. It does no work of
its own: the client sends, waits, retries and splits. docs/architecture.md draws the way of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

import httpx2
import numpy as np
import regex

from vector_pipeline.embedding.pacing.limits import RateHeaders
from vector_pipeline.embedding.requests import RequestLimits

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

_DIGITS = regex.compile(r"\d+")


class Purpose(StrEnum):
    """What a vector is for: some models embed a question otherwise than the text that answers it."""

    DOCUMENT = "document"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model: its dimensions, whether fewer can be asked for, and its price in USD for a million tokens."""

    dimensions: int
    takes_dimensions: bool
    usd_per_million_tokens: float


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks: what the headers of a request are made of. No text of it may be shown."""

    key: str | None = None
    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What one request asks for: vectors of some texts, for a purpose."""

    model: str
    texts: Sequence[str]
    purpose: Purpose = Purpose.DOCUMENT
    dimensions: int | None = None
    """Dimensions that the vectors must have; None where any will do."""
    without: frozenset[str] = frozenset()
    """Options that this server has refused before, by the names that `Problem.option` gave them."""


class Kind(Enum):
    """What to do about an answer that is no vectors."""

    RETRY = auto()
    """It may pass by itself: the same request again, after a wait."""
    RATE_LIMITED = auto()
    """429: the same request again, after the wait that the answer names; nobody else sends meanwhile."""
    SPLIT = auto()
    """Too large, or one bad item among good ones: in halves, down to the one that cannot be embedded."""
    WITHOUT = auto()
    """The server does not take `option`, which it can do without: the same request again, and no more with it."""
    REFUSED = auto()
    """Hopeless: key, rights, model, dimensions."""
    QUOTA = auto()
    """No money left."""
    BROKEN = auto()
    """A 200 that is no answer, and billed: the same request again, a few times."""
    USELESS = auto()
    """Vectors that no search could find, and billed: once more, then the texts are rejected."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is no vectors; `wait_seconds` is what it asks for, None where it names no time."""

    kind: Kind
    message: str
    wait_seconds: float | None = None
    option: str = ""
    """What the server does not take, for Kind.WITHOUT."""
    culprit: int | None = None
    """The index of the input that the message names."""
    whole: bool = False
    """Whether the request was too large as a whole, and not one of its texts."""
    of_text: bool = False
    """Whether the message says that it is a text that is wrong; else it may be anything that it calls input."""
    account: bool = False
    """Whether it is more than the account may ever send at once, rather than more than the API takes."""
    unseen: bool = False
    """Whether the server never saw the request: no text can be the reason."""
    repeated: str | None = None
    """The signature of the failure, where the request failed again and again while the server answered others."""

    @property
    def signature(self) -> str:
        """What two failures of the same sort have in common: kind and message, whatever numbers are in it."""
        return f"{self.kind.name} {_DIGITS.sub('0', self.message)}"

    @property
    def may_be_of_text(self) -> bool:
        """Whether one of the texts may be the reason that an answer failed, though it does not say so."""
        asked_to_wait = self.wait_seconds is not None
        return self.kind in (Kind.RETRY, Kind.BROKEN, Kind.USELESS) and not self.unseen and not asked_to_wait


@dataclass(frozen=True, slots=True)
class Decoded:
    """Vectors by input index, shape (count, dimensions), float32, and what else an answer says."""

    vectors: Vectors
    tokens: int
    """Tokens billed; 0 where it does not say."""
    model: str
    useless: Sequence[int] = ()
    """Inputs whose vector is missing or cannot be read, or holds NaN or infinity, or is zero: it has no direction, and
    no search would find it."""
    ignored: frozenset[str] = frozenset()
    """Options that the server passed over: they need not be sent again."""


class BrokenAnswer(Exception):
    """A 200 whose body is not what was asked for: cut short, or another count. It is asked for again."""


class HiddenError(Exception):
    """An error under the status 200, as some gateways hand on others': the status it stands for, and its body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class WrongDimensions(Exception):
    """Vectors of other dimensions than the space has; asking again cannot help."""


class Provider(Protocol):
    """One embedding API. Its methods are pure functions of what they are given."""

    @property
    def name(self) -> str:
        """What VECTOR_PIPELINE_PROVIDER calls it; its key is looked for in a variable of this name, `NAME_API_KEY`."""
        ...

    @property
    def key_variable(self) -> str:
        """The environment variable of its key, for messages."""
        ...

    @property
    def base_url(self) -> str:
        """Where it is asked, unless the settings name another place."""
        ...

    @property
    def path(self) -> str:
        """What is appended to the base URL, with its slash."""
        ...

    @property
    def limits(self) -> RequestLimits:
        """What one request may hold at most; the settings may ask for less."""
        ...

    @property
    def models(self) -> Mapping[str, KnownModel]:
        """What is published of its models. A model that is not listed is learned from its first answer."""
        ...

    def headers(self, access: Access) -> Mapping[str, str]:
        """The headers of a request besides those of its body."""
        ...

    def body(self, question: Question) -> bytes:
        """The body of a request, JSON. Raises UnicodeEncodeError for a text with a lone surrogate."""
        ...

    def decode(self, content: bytes, question: Question) -> Decoded:
        """The vectors of an answer with status 200.

        Raises BrokenAnswer where they cannot be told to belong to their texts, WrongDimensions, and HiddenError.
        """
        ...

    def classify(self, status: int, headers: Mapping[str, str], body: object, clean: Callable[[str], str]) -> Problem:
        """What to do about an answer with an error status.

        `body` is its JSON, or its text where it is none; `clean` removes secrets from a text that is to be shown.
        """
        ...

    def rate(self, headers: Mapping[str, str], message: str) -> RateHeaders:
        """What an answer says of the account's limits; `message` is the text of a 429, else empty."""
        ...

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """Where requests go instead of the network; None for the network."""
        ...
