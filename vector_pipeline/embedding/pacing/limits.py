"""Rate limits as presets, settings and the headers of answers state them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import regex

_DURATION = regex.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "": 1.0}

# "... on tokens per min (TPM): Limit 1000000, Used 976163, Requested 70716. ..." (seen live, 2025)
_USED = regex.compile(
    r"(tokens|requests) per min[^:]*: Limit:? (\d[\d,]{0,20}), Used:? (\d[\d,]{0,20}), Requested", regex.IGNORECASE
)

# A larger limit is no limit: a thousand times what any account has.
MAX_LIMIT = 10**12


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an account; None where none is stated.

    `binding` marks the user's own bounds, which apply even if the account allows more. Without it the limits are a
    preset, and those in the headers of answers replace them.
    """

    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    binding: bool = False


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What an answer says about the limits, in x-ratelimit-limit-* and x-ratelimit-remaining-* or in its message."""

    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    limit_requests: int | None = None
    remaining_requests: int | None = None
    processing_seconds: float = 0.0
    """How long ago the server admitted the request, if it says so."""

    @classmethod
    def of(cls, headers: Mapping[str, str], message: str = "") -> RateHeaders:
        """Read the headers of an answer, or else the message of a 429; all None if neither states anything."""

        def number(name: str) -> int | None:
            try:
                return int(float(headers[name]))
            except (KeyError, ValueError, OverflowError):
                return None

        seen = {
            "limit_tokens": number("x-ratelimit-limit-tokens"),
            # Azure says, for example, -27689 if it admitted more than was left.
            "remaining_tokens": number("x-ratelimit-remaining-tokens"),
            "limit_requests": number("x-ratelimit-limit-requests"),
            "remaining_requests": number("x-ratelimit-remaining-requests"),
        }
        found = _USED.search(message)
        if found and seen[f"remaining_{found[1].lower()}"] is None:
            stated, used = (int(part.replace(",", "")) for part in (found[2], found[3]))
            seen |= {f"limit_{found[1].lower()}": stated, f"remaining_{found[1].lower()}": stated - used}
        for kind in ("tokens", "requests"):
            most, left = seen[f"limit_{kind}"], seen[f"remaining_{kind}"]
            if most is None or not 0 < most <= MAX_LIMIT:
                # Some gateways say 0 or -1 if there is no limit.
                seen[f"limit_{kind}"] = None
            elif left is not None:
                # With a debt of more than a minute nothing would be sent that could correct it.
                seen[f"remaining_{kind}"] = min(max(left, -most), most)
        return cls(**seen, processing_seconds=min(10.0, max(0, number("openai-processing-ms") or 0) / 1000))

    @property
    def stated(self) -> bool:
        """Whether any limit is stated."""
        return bool(self.limit_tokens or self.limit_requests)


def parse_duration(text: str) -> float | None:
    """The seconds in a Go duration ('1h2m3.5s', '17ms', also with days as '1d') or a plain number; None for neither."""
    found = _DURATION.findall(text.strip())
    if not found or "".join(number + unit for number, unit in found) != text.strip():
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in found)
