"""The arithmetic of the rate limits against a bucket that is the API's, on a clock of the test's own."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.embedding.pacing.account import Account, Ticket
from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders


@dataclass
class Api:
    """The API's own bucket, and what its clients did to it."""

    limit: float
    level: float
    weighs: float = 1.0
    capacity: float = 0.0
    at: float = 0.0
    admitted: float = 0.0
    refused: int = 0

    def ask(self, weight: float, now: float) -> RateHeaders | None:
        """Headers of an admitted request; None for a 429."""
        self.level = min(self.capacity or self.limit, self.level + (now - self.at) * self.limit / 60)
        self.at = now
        if self.level < weight * self.weighs:
            self.refused += 1
            return None
        self.level -= weight * self.weighs
        self.admitted += weight * self.weighs
        return RateHeaders(int(self.limit), int(self.level))


@dataclass
class Client:
    """A client that always has something to send, with a latency that varies."""

    account: Account
    api: Api
    weight: int
    rng: random.Random
    latency: float = 0.3
    delay: float = 0.02
    """The longest time that a request takes to arrive."""

    def run(self, seconds: float, stranger: float = 0.0) -> None:
        order = itertools.count()
        events: list[tuple[float, int, str, Ticket | None, RateHeaders | None]] = [(0.0, 0, "ask", None, None)]
        if stranger:
            events.append((0.0, -1, "stranger", None, None))
        while events:
            now, _, what, ticket, headers = heapq.heappop(events)
            if now > seconds:
                continue
            if what == "stranger":
                self.api.ask(20_000 / self.api.weighs, now)
                heapq.heappush(events, (now + 20_000 / stranger, next(order), what, None, None))
            elif what == "ask":
                granted, wait = self.account.take(self.weight, now)
                if granted is not None:
                    heapq.heappush(events, (now + wait, next(order), "send", granted, None))
                heapq.heappush(events, (now + max(wait, 1e-3), next(order), "ask", None, None))
            elif what == "send":
                assert ticket is not None
                arrival = now + self.rng.uniform(0, self.delay)
                heapq.heappush(events, (arrival, next(order), "arrive", ticket, None))
            elif what == "arrive":
                assert ticket is not None
                seen = self.api.ask(ticket.weight, now)
                back = now + self.latency * self.rng.uniform(0.8, 1.2)
                heapq.heappush(events, (back, next(order), "answer", ticket, seen))
            else:
                assert ticket is not None
                self.account.settle(ticket, headers, now)
                if headers is None:
                    self.account.pause(0.2, now)


@pytest.mark.parametrize("limit", [40_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_the_whole_limit_is_used_without_one_429(limit: int, fill: float) -> None:
    api = Api(limit, limit * fill)
    client = Client(Account.new(Limits(limit), 0.0), api, max(2_000, limit // 100), random.Random(1))
    client.run(180)
    assert api.refused == 0
    assert api.admitted >= 0.98 * (limit * fill + limit * 3) - client.weight


@pytest.mark.parametrize("fill", [0.1, 0.2, 0.5])
def test_requests_that_overtake_each_other_cause_no_429(fill: float) -> None:
    limit = 1_000_000
    for seed in range(10):
        api = Api(limit, limit * fill)
        Client(Account.new(Limits(limit), 0.0), api, limit // 50, random.Random(seed), delay=0.5).run(120)
        assert api.refused == 0
        assert api.admitted >= 0.97 * limit * (fill + 2) - limit // 50


def test_requests_of_a_process_that_was_killed_count_as_under_way_for_a_few_minutes() -> None:
    account = Account.new(None, 0.0)
    first, _ = account.take(10_000, 0.0)
    assert first is not None
    account.settle(first, RateHeaders(1_000_000, 900_000, 1_000, 900), 0.0)
    for _ in range(3):
        account.take(10_000, 0.0)
    assert (account.under_way, account.requests_under_way) == (30_000, 3)
    ticket, _ = account.take(10_000, 300.0)
    assert ticket is not None
    assert ticket.under_way == pytest.approx((1_000, 0.1), rel=0.1)
    account.settle(ticket, RateHeaders(1_000_000, 500_000), 301.0)
    assert account.under_way < 1_000
    assert account.requests_under_way < 0.1


@pytest.mark.parametrize("weighs", [0.4, 0.8, 1.25, 2.0])
def test_an_api_that_weighs_texts_in_its_own_way_is_still_used_up(weighs: float) -> None:
    limit = 1_000_000
    api = Api(limit, 0.0, weighs=weighs)
    Client(Account.new(Limits(limit), 0.0), api, 10_000, random.Random(1)).run(240)
    assert api.refused <= (0 if weighs <= 1 else 3)
    assert api.admitted >= 0.97 * limit * 4


def test_a_wrong_preset_is_put_right_by_the_headers() -> None:
    api = Api(1_000_000, 1_000_000)
    account = Account.new(Limits(10_000_000), 0.0)
    Client(account, api, 10_000, random.Random(1)).run(120)
    assert api.refused == 0
    assert account.limits == Limits(1_000_000)


def test_the_users_own_bound_holds_even_where_the_account_may_do_more() -> None:
    api = Api(10_000_000, 10_000_000)
    account = Account.new(Limits(1_000_000, binding=True), 0.0)
    Client(account, api, 10_000, random.Random(1)).run(120)
    assert 0.97 * 2_000_000 <= api.admitted <= 2_000_000 + 20_000
    assert account.limits == Limits(1_000_000)


def test_a_bucket_that_holds_only_seconds_of_the_limit_is_still_used_up() -> None:
    api = Api(2_000_000, 0.0, capacity=200_000)
    Client(Account.new(Limits(2_000_000), 0.0), api, 20_000, random.Random(1)).run(120)
    assert api.refused == 0
    assert api.admitted >= 0.97 * 4_000_000


@pytest.mark.parametrize("limit", [2_000_000, 10_000_000])
def test_beside_a_stranger_who_takes_a_third_few_requests_are_refused(limit: int) -> None:
    api = Api(limit, 0.0)
    client = Client(Account.new(Limits(limit), 0.0), api, limit // 100, random.Random(1))
    client.run(300, stranger=limit / 180)
    assert client.account.number > 250
    assert api.refused <= 0.02 * client.account.number
    assert api.admitted >= 0.95 * limit * 5


def test_of_an_unknown_account_one_request_is_sent_until_it_is_answered() -> None:
    account = Account.new(None, 0.0)
    ticket, wait = account.take(1_000, 0.0)
    assert ticket is not None
    assert wait == 0.0
    assert account.take(1_000, 0.1)[0] is None
    account.settle(ticket, RateHeaders(100_000, 50_000), 0.3)
    assert account.limits == Limits(100_000)
    assert account.take(49_000, 0.3)[0] is not None


def test_an_unknown_account_whose_first_request_failed_is_tried_again_at_once() -> None:
    account = Account.new(None, 0.0)
    ticket, _ = account.take(1_000, 0.0)
    assert ticket is not None
    account.settle(ticket, None, 0.3)
    assert account.take(1_000, 0.3)[0] is not None


def test_a_first_answer_that_never_comes_holds_nobody_up_for_ever() -> None:
    account = Account.new(None, 0.0)
    account.take(1_000, 0.0)
    assert account.take(1_000, 60.0)[0] is not None


def test_a_server_that_states_no_limits_has_none() -> None:
    account = Account.new(None, 0.0)
    ticket, _ = account.take(1_000, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(), 0.1)
    assert all(account.take(10**9, 0.1)[1] == 0.0 for _ in range(100))
    assert account.limits == Limits()


def test_a_search_does_not_wait_behind_a_bulk_load() -> None:
    account = Account.new(Limits(1_000_000), 0.0)
    ticket, _ = account.take(10_000, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(1_000_000, 0), 1.0)
    while account.take(20_000, 1.0)[0] is not None:
        pass
    urgent, wait = account.take(20, 1.0, urgent=True)
    assert urgent is not None
    assert wait <= 1.0


def test_nobody_sends_while_a_429_is_waited_for() -> None:
    account = Account.new(None, 0.0)
    ticket, _ = account.take(10, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(1_000_000, 900_000), 0.1)
    account.pause(5.0, 1.0)
    refused, seconds = account.take(10, 2.0)
    assert refused is None
    assert seconds == pytest.approx(4.0)
    assert account.take(10, 6.1)[0] is not None


def test_requests_a_minute_are_kept_as_well_as_tokens() -> None:
    account = Account.new(Limits(None, 60), 0.0)
    ticket, _ = account.take(1, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(None, None, 60, 0), 0.0)
    sent = 0
    for step in range(6_000):
        now = step / 100
        granted, wait = account.take(1, now)
        sent += granted is not None and now + wait < 60
    assert 56 <= sent <= 60


def test_requests_a_day_are_kept() -> None:
    account = Account.new(Limits(None, None, 10), 0.0)
    ticket, _ = account.take(1, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(), 0.0)
    granted = sum(account.take(1, 1.0)[0] is not None for _ in range(30))
    assert granted <= 10
    refused, seconds = account.take(1, 1.0)
    assert refused is None
    assert seconds > 900


def test_an_older_answer_does_not_undo_what_a_newer_one_told() -> None:
    account = Account.new(None, 0.0)
    tickets = []
    first, _ = account.take(10, 0.0)
    assert first is not None
    account.settle(first, RateHeaders(1_000_000, 1_000_000), 0.0)
    for _ in range(2):
        ticket, _ = account.take(10, 0.0)
        assert ticket is not None
        tickets.append(ticket)
    account.settle(tickets[1], RateHeaders(1_000_000, 100), 0.1)
    account.settle(tickets[0], RateHeaders(1_000_000, 999_000), 0.1)
    assert account.tokens is not None
    assert account.tokens.level == pytest.approx(100, abs=1)


@given(
    limits=st.builds(
        Limits,
        st.none() | st.integers(1, 10**8),
        st.none() | st.integers(1, 10**5),
        st.none() | st.integers(1, 10**5),
    ),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 300_000), st.integers(-1_000, 10**7)), max_size=30),
)
def test_an_account_is_the_same_after_it_was_stored(limits: Limits, steps: list[tuple[float, int, int]]) -> None:
    account, now = Account.new(limits, 0.0), 0.0
    for elapsed, weight, remaining in steps:
        now += elapsed
        ticket, wait = account.take(weight, now)
        assert wait >= 0
        if ticket is not None:
            account.settle(ticket, RateHeaders(10**7, remaining, 10**4, 10), now + wait)
    assert Account.from_json(orjson.loads(orjson.dumps(account))) == account


@given(
    weights=st.lists(st.integers(1, 50_000), min_size=1, max_size=60),
    limit=st.integers(60_000, 10**7),
)
def test_no_more_is_admitted_than_refills(weights: list[int], limit: int) -> None:
    """From an empty bucket, without headers to learn from: never above the rate at any time."""
    account, now, taken = Account.new(Limits(limit), 0.0), 0.0, 0
    first, wait = account.take(1, now)
    assert first is not None
    account.settle(first, RateHeaders(), now + wait)
    for weight in weights:
        ticket, wait = account.take(weight, now)
        while ticket is None:
            now += wait + 1e-6
            ticket, wait = account.take(weight, now)
        taken += weight
        assert taken <= (now + wait) * limit / 60 + 1


def test_a_bound_that_the_user_took_back_holds_no_more() -> None:
    account = Account.new(Limits(1_000, 10, 100, binding=True), 0.0)
    ticket, wait = account.take(1, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(), wait)
    account.expect(Limits(2_000), wait)
    assert account.limits == Limits(2_000)
    account.expect(Limits(), wait)
    assert account.limits == Limits()


def test_what_an_answer_stated_outlives_a_preset() -> None:
    account = Account.new(Limits(1_000_000), 0.0)
    ticket, wait = account.take(1, 0.0)
    assert ticket is not None
    account.settle(ticket, RateHeaders(5_000_000, 4_000_000, 500, 400), wait)
    account.expect(Limits(), wait)
    assert account.limits == Limits(5_000_000, 500)


def test_what_another_version_kept_beside_is_left_out() -> None:
    account = Account.new(Limits(1_000, 10, None), 0.0)
    stored = orjson.loads(orjson.dumps(account))
    stored["of_a_later_version"] = 1
    stored["tokens"]["of_a_later_version"] = [2]
    assert Account.from_json(stored) == account
