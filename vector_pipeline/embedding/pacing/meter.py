"""One rate limit: credit that refills all the time, and what answers tell of how it is really spent."""

from __future__ import annotations

from dataclasses import dataclass

# What others take unforeseen is kept in hand from then on, half of it for as long as this after the last time.
MARGIN_HALF_LIFE_SECONDS = 60.0
MAX_MARGIN = 0.05

# As long as nothing was seen of others yet, this share of the limit is kept from them; it halves with time.
FIRST_MARGIN = 0.02

# How much of "there is more left than we thought" is believed of one answer, since requests may overtake each other.
UPWARD_GAIN = 0.3

# Over how much of the limit's refill the account's own weighing of texts is measured.
RATIO_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer's numbers refer to.

    `total` was taken up to and including its request; `before` of that may not have been admitted yet when it was,
    and `seconds` have passed since.
    """

    total: float
    before: float
    seconds: float


@dataclass(slots=True)
class Meter:
    """One limit: credit that refills at `limit` every `period` seconds, up to `limit`; it may be overdrawn."""

    limit: float
    level: float
    at: float
    period: float = 60.0
    cap: float | None = None
    """What the user allows, however much more the account might."""
    stated: bool = False
    """Whether the limit is what an answer stated; else it is a preset's or the user's."""
    total: float = 0.0
    """All that was ever taken, in our own weighing."""
    ratio: float = 1.0
    """What goes from the account for each unit that we take: its own weighing, and what others take."""
    margin: float = -1.0
    """Kept in hand against what others take without notice."""
    mark: tuple[float, float, float] | None = None
    """Total, remaining and time of an earlier answer, from which the ratio is measured."""

    def __post_init__(self) -> None:
        if self.margin < 0:
            self.margin = FIRST_MARGIN * self.limit if self.period == 60.0 else 0.0

    @property
    def rate(self) -> float:
        """What refills in a second."""
        return self.limit / self.period

    def refill(self, now: float) -> None:
        """Bring the level up to the time."""
        elapsed = max(0.0, now - self.at)
        self.level = min(self.limit, self.level + elapsed * self.rate)
        self.margin *= 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        self.at = max(self.at, now)

    def debt_seconds(self, now: float) -> float:
        """How long until what was taken has been refilled; 0 where there is credit."""
        elapsed = max(0.0, now - self.at)
        level = min(self.limit, self.level + elapsed * self.rate)
        margin: float = self.margin * 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        return max(0.0, (margin - level) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take an amount, into debt if need be."""
        self.refill(now)
        self.total += amount
        self.level -= amount * self.ratio

    def correct(self, limit: int | None, remaining: int, seen: Seen, now: float, *, first: bool) -> None:
        """Take over what an answer says is left, less what was taken since its request was admitted."""
        self.refill(now)
        # A bound of the user's own below the account's: what is left of the account is then no measure.
        bound = self.cap is not None and self.cap < (limit or self.limit)
        if limit:
            self.stated = True
            self.limit = float(min(limit, self.cap or limit))
        if not bound:
            self._measure(remaining, seen, now)
        high = remaining + seen.seconds * self.rate - (self.total - seen.total) * self.ratio
        low = high - seen.before * self.ratio
        if first and not bound:
            self.level = min(low, self.limit)
        elif self.level > high:
            if high < self.limit / 5:
                self.margin = max(self.margin, min(1.5 * (self.level - high), MAX_MARGIN * self.limit))
            self.level = high
        elif self.level < low and not bound:
            self.level = min(self.limit, self.level + UPWARD_GAIN * (low - self.level))

    def _measure(self, remaining: int, seen: Seen, now: float) -> None:
        """How much goes from the account for what we take, over the last few seconds' worth of tokens."""
        mark, self.mark = self.mark, self.mark or (seen.total, float(remaining), now)
        if mark is None:
            return
        total, was, then = mark
        taken, elapsed = seen.total - total, now - then
        if taken < RATIO_SECONDS * self.rate:
            return
        # Near the top what refills is lost, and after a pause it tells nothing of the weighing.
        if max(remaining, was) < 0.95 * self.limit and elapsed < 60:
            gone = was + elapsed * self.rate - remaining
            self.ratio += 0.5 * (min(4.0, max(0.25, gone / taken)) - self.ratio)
        self.mark = (seen.total, float(remaining), now)
