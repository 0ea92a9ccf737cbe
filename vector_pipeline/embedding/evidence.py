"""The failures of one request, and whether they show that one of its texts is the reason.

A server that is down fails for every request; a text that a server cannot take fails each time while others succeed.
Failures that ask to wait (429, and 503 with Retry-After) are different: a server under load, or an account at its limit,
answers some requests and refuses others. They count only by contrast. Between two failures of the request a control is
sent, which is a request without its texts, after the wait that the server asked for. If the control is answered and the
request fails again, that is one contrast. If the control fails, the count begins again.

Example: a server refuses half of all requests at random. A request fails and its control is answered with a probability
of 1/4. So a text that is not at fault is rejected with one of 1/4 to the power of CONTRASTS_ALONE, below 0.1 %. A
request of several texts is split with one of 9 %, into two that are split as rarely, so requests do not multiply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vector_pipeline.embedding.providers.base import Kind, Problem
from vector_pipeline.embedding.values import EmbeddingInput

# After this many failures of the same kind a request is split, if the server answers other requests. If each failure is
# billed, it is split after fewer. A single text cannot be split and is rejected; that takes more failures.
ALIKE = 3
ALIKE_AND_BILLED = 2
ALIKE_ALONE = 5

# The contrasts after which a request is split, and a single text is rejected.
CONTRASTS = 2
CONTRASTS_ALONE = 5


@dataclass(slots=True)
class Failures:
    """The failures of one request so far.

    `suspected` is the signature of the failure with which a larger request with these texts ended.
    """

    suspected: str | None
    alike: int = 0
    """The number of failures of the last kind."""
    since: float = 0.0
    """The time of the first failure of that kind."""
    last_at: float = 0.0
    contrasts: int = 0
    """The number of controls in a row that were answered between two failures that asked to wait."""
    _last: Problem | None = None
    _all_may_be: bool = True
    _waits: int = 0
    """The number of failures in a row that asked to wait, all of the same kind."""
    _waited_for: str = ""
    """The signature of these."""
    _control_answered: bool = False

    def add(self, problem: Problem, now: float) -> None:
        """Count a failure."""
        if problem.asks_to_wait:
            self._add_wait(problem)
        if problem.kind is Kind.RATE_LIMITED:
            self.last_at = now
            return
        self._all_may_be = self._all_may_be and problem.may_be_of_text
        if self._last is None or self._last.signature != problem.signature:
            self.alike, self.since = 0, now
        self.alike += 1
        self._last, self.last_at = problem, now

    def _add_wait(self, problem: Problem) -> None:
        if problem.signature != self._waited_for:
            self._waited_for, self._waits, self.contrasts = problem.signature, 0, 0
        elif self._control_answered:
            self.contrasts += 1
        self._waits += 1
        self._control_answered = False

    def add_control(self, answered: bool) -> None:
        """Count a control that was sent after the last failure."""
        self._control_answered = answered
        if not answered:
            self.contrasts = 0

    @property
    def is_suspected(self) -> bool:
        """Whether the larger request ended in the same way."""
        return self.suspected is not None and self.suspected in (self._waited_for, self._last and self._last.signature)

    @property
    def useless(self) -> bool:
        """Whether the last answer had vectors, but no good one."""
        return self._last is not None and self._last.kind is Kind.USELESS

    @property
    def is_worth_a_control(self) -> bool:
        """Whether there were so many failures that asked to wait that a text may be the reason."""
        return self._waits >= (1 if self.is_suspected else ALIKE)

    def contrasts_point_at_a_text(self, inputs: int) -> bool:
        """Whether failures that asked to wait show that one of the texts is the reason."""
        return self.contrasts >= (CONTRASTS if inputs > 1 else CONTRASTS_ALONE)

    def point_at_a_text(self, inputs: int, over: bool) -> bool:
        """Whether one of the texts is now the likely reason. `over` means that there is no time for another attempt."""
        last = self._last
        if last is None or not last.may_be_of_text:
            return False
        if last.kind is Kind.REFUSED and last.doubtful:
            return True
        billed = last.kind in (Kind.BROKEN, Kind.USELESS)
        if inputs > 1 or self.useless:
            enough = 1 if self.is_suspected else ALIKE_AND_BILLED if billed else ALIKE
        else:
            enough = ALIKE_ALONE
        return self.alike >= enough or (over and self._all_may_be)


def suspected(problem: Problem) -> Problem:
    """What to do about a request that fails while the server answers others: one of its texts is the reason."""
    again = "" if problem.kind is Kind.REFUSED and problem.doubtful else ", again and again"
    return replace(
        problem,
        kind=Kind.USELESS if problem.kind is Kind.USELESS else Kind.SPLIT,
        message=f"{problem.message}{again}, while others are answered",
        repeated=problem.signature,
    )


def control_for(inputs: Sequence[EmbeddingInput]) -> EmbeddingInput:
    """The text of a control: one word, or for a single text as many words as it has tokens. Limits count tokens."""
    tokens = inputs[0].tokens if len(inputs) == 1 else 1
    return EmbeddingInput(" ".join(["word"] * tokens), tokens, b"")
