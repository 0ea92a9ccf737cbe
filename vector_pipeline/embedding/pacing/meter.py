"""One rate limit: credit that refills continuously, and its correction by answers.

Example of a correction: the limit is 1,000,000 tokens per minute. 250,000 tokens have been taken so far, and the level
is 450,000. An answer arrives for a request up to which 200,000 had been taken. 50,000 have been taken since.

- It says that 480,000 are left. Less the 50,000 taken since, at most 430,000 can be left. The level becomes 430,000.
- It says that 510,000 are left, so 460,000 now. Requests may overtake each other, so only 30 % of the difference is
  believed: the level becomes 453,000.
- It says that 150,000 are left, so 100,000 now. Others took 350,000 without notice, and little is left. The level
  becomes 100,000, and a margin of 50,000 (5 % of the limit) is kept for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

# After others took tokens without notice, a margin is kept for them. It halves in this time.
MARGIN_HALF_LIFE_SECONDS = 60.0
MAX_MARGIN = 0.05

# The margin at the beginning, as a share of the limit, before anything is known about others. It halves the same way.
FIRST_MARGIN = 0.02

# The share of an upward correction that is believed of one answer, because requests may overtake each other.
UPWARD_GAIN = 0.3

# The ratio is measured over tokens that take this many seconds to refill.
RATIO_SECONDS = 3.0
# They must also be this many times as many as the tokens that may not have been admitted yet: else these decide.
RATIO_SHARE = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the numbers of an answer refer to.

    `total` is what had been taken up to and including its request. `before` of that may not have been admitted yet when
    the request was. The request was admitted `seconds` ago.
    """

    total: float
    before: float
    seconds: float


@dataclass(slots=True)
class Meter:
    """One limit: a level that refills by `limit` in `period` seconds, up to `limit`. It may be negative."""

    limit: float
    level: float
    at: float
    period: float = 60.0
    cap: float | None = None
    """The user's own bound, even if the account allows more."""
    stated: bool = False
    """Whether an answer stated the limit. Otherwise it comes from a preset or the user."""
    total: float = 0.0
    """All that was ever taken, in our own count."""
    ratio: float = 1.0
    """What leaves the account for each token that we take. The API may count differently, and others may take some."""
    margin: float = -1.0
    """The part of the level that is kept for others, who take without notice."""
    mark: tuple[float, float, float] | None = None
    """Total, remaining and time of an earlier answer. The ratio is measured from there."""
    mark_before: float = 0.0
    """`Seen.before` of that answer."""

    def __post_init__(self) -> None:
        if self.margin < 0:
            self.margin = FIRST_MARGIN * self.limit if self.period == 60.0 else 0.0

    @property
    def rate(self) -> float:
        """The refill in one second."""
        return self.limit / self.period

    def refill(self, now: float) -> None:
        """Add what has refilled until `now`."""
        elapsed = max(0.0, now - self.at)
        self.level = min(self.limit, self.level + elapsed * self.rate)
        self.margin *= 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        self.at = max(self.at, now)

    def debt_seconds(self, now: float) -> float:
        """The seconds until the level reaches the margin; 0 if it does now."""
        elapsed = max(0.0, now - self.at)
        level = min(self.limit, self.level + elapsed * self.rate)
        margin: float = self.margin * 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        return max(0.0, (margin - level) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take an amount. The level may become negative."""
        self.refill(now)
        self.total += amount
        self.level -= amount * self.ratio

    def correct(self, limit: int | None, remaining: int, seen: Seen, now: float, *, first: bool) -> None:
        """Correct the level by what an answer says is left, less what was taken since (example above)."""
        self.refill(now)
        # If the user's own bound is below the account's limit, what is left in the account does not matter.
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
        """Measure how much leaves the account for what we take, over `RATIO_SECONDS` worth of tokens.

        Example: 100,000 tokens were taken in 3 seconds. What is left went from 500,000 to 440,000, and 50,000 have
        refilled. So 110,000 left the account: 1.1 for each token. The ratio moves half way, from 1.0 to 1.05.
        If 20,000 of the tokens may not have been admitted yet, 110,000 left for 80,000 to 100,000, so 1.1 to 1.375 for
        each. A ratio between these stays as it is.
        """
        if self.mark is None:
            self._set_mark(remaining, seen, now)
            return
        total, was, then = self.mark
        taken, elapsed = seen.total - total, now - then
        if taken < max(RATIO_SECONDS * self.rate, RATIO_SHARE * (self.mark_before + seen.before)):
            return
        # Near the top some of the refill is lost, and after a pause the numbers do not show the ratio.
        if max(remaining, was) < 0.95 * self.limit and elapsed < 60:
            gone = was + elapsed * self.rate - remaining
            measured = min(max(self.ratio, gone / (taken + self.mark_before)), gone / (taken - seen.before))
            self.ratio += 0.5 * (min(4.0, max(0.25, measured)) - self.ratio)
        self._set_mark(remaining, seen, now)

    def _set_mark(self, remaining: int, seen: Seen, now: float) -> None:
        self.mark, self.mark_before = (seen.total, float(remaining), now), seen.before
