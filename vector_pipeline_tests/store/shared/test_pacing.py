"""The shared pacer on a real Postgres: several users of one account, and Postgres going away."""

from __future__ import annotations

import asyncio
import threading
import time

import psycopg
import pytest

from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders
from vector_pipeline.store.connection import Database
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline_tests.support.asking import config, embed_batches, many
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

pytestmark = pytest.mark.slow

FULL = RateHeaders(6_000_000, 6_000_000, 6_000, 6_000)


def test_what_one_user_learns_the_others_know(database: Database) -> None:
    async def main() -> None:
        one, other = PostgresPacer(database, "b"), PostgresPacer(database, "b")
        await one.settle(await one.reserve(10), FULL)
        await other.settle(await other.reserve(10), None)
        assert await other.limits() == Limits(6_000_000, 6_000)
        await one.close()
        await other.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "state",
    [
        "[]",
        '"full"',
        '{"tokens": "full"}',
        '{"tokens": {}}',
        '{"number": null}',
        '{"probe_until": "soon"}',
        '{"width": [1]}',
    ],
)
def test_a_state_that_cannot_be_used_is_begun_anew(database: Database, state: str) -> None:
    with database.connect() as connection:
        connection.execute("INSERT INTO vector_pipeline_shared.pacing (bucket, state) VALUES ('b', %s::jsonb)", (state,))

    async def main() -> None:
        pacer = PostgresPacer(database, "b", Limits(6_000_000, 6_000))
        await pacer.settle(await pacer.reserve(10), FULL)
        assert await pacer.limits() == Limits(6_000_000, 6_000)
        await pacer.close()

    asyncio.run(main())


def test_users_of_one_account_never_send_more_than_it_refills_together(database: Database) -> None:
    """4 users, 100,000 tokens a second, an empty bucket: what is admitted stays under the line."""

    async def user(began: float, sent: list[tuple[float, int]]) -> None:
        pacer = PostgresPacer(database, "b")
        while time.monotonic() - began < 2.0:
            ticket = await pacer.reserve(5_000)
            sent.append((time.monotonic() - began, ticket.weight))
            await pacer.settle(ticket, None)
        await pacer.close()

    async def main() -> list[tuple[float, int]]:
        first = PostgresPacer(database, "b")
        sent: list[tuple[float, int]] = []
        await first.settle(await first.reserve(1), RateHeaders(6_000_000, 0))
        began = time.monotonic()
        await asyncio.gather(*(user(began, sent) for _ in range(4)))
        await first.close()
        return sent

    sent = asyncio.run(main())
    total = 0
    for moment, weight in sorted(sent):
        total += weight
        assert total <= 100_000 * moment + 5_000
    # What is kept in hand at first (FIRST_MARGIN) comes on top of that later on.
    assert total >= 80_000


def test_buckets_are_apart(database: Database) -> None:
    async def main() -> None:
        one, other = PostgresPacer(database, "a"), PostgresPacer(database, "b")
        await one.settle(await one.reserve(10), FULL)
        assert await other.limits() is None
        await other.reserve(10)
        assert await other.limits() is None

    asyncio.run(main())


def test_the_bucket_belongs_to_url_organisation_project_and_model_and_not_to_the_key() -> None:
    with serve() as server:
        one = config(server, organization="o", project="p")
        assert one.bucket == config(server, organization="o", project="p", api_key=None).bucket
        assert "sk-" not in one.bucket
        for other in ({"organization": "x"}, {"project": "x"}, {"model": "x"}, {"base_url": "http://x/v1"}):
            assert config(server, **{"organization": "o", "project": "p", **other}).bucket != one.bucket


def test_pacing_goes_on_while_postgres_is_away(database: Database, fresh_database_url: str) -> None:
    async def main() -> None:
        pacer = PostgresPacer(database, "b")
        await pacer.settle(await pacer.reserve(10), RateHeaders(6_000_000, 0))
        with psycopg.connect(fresh_database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'vector_pipeline pacing' AND datname = current_database()"
            )
            connection.execute("ALTER TABLE vector_pipeline_shared.pacing RENAME TO away")
            began = time.monotonic()
            for _ in range(4):
                await pacer.settle(await pacer.reserve(25_000), None)
            # Learned before: 100,000 a second. It keeps to it alone, and does not wait for connections each time.
            assert 0.7 <= time.monotonic() - began <= 4
            assert await pacer.limits() == Limits(6_000_000)
        await pacer.close()

    asyncio.run(main())


def test_nothing_is_written_while_a_request_waits_for_its_turn(database: Database) -> None:
    async def main() -> None:
        pacer = PostgresPacer(database, "b")
        await pacer.settle(await pacer.reserve(10), RateHeaders(60_000, 0))
        waiting = asyncio.create_task(pacer.reserve(2_000))
        await asyncio.sleep(0.2)
        with database.connect() as connection:
            query = "SELECT version FROM vector_pipeline_shared.pacing"
            before = connection.execute(query).fetchone()
            await asyncio.sleep(0.5)
            assert connection.execute(query).fetchone() == before
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await pacer.close()

    asyncio.run(main())


def test_one_reservation_costs_little(database: Database) -> None:
    async def main() -> float:
        pacer = PostgresPacer(database, "b")
        await pacer.settle(await pacer.reserve(10), RateHeaders(None, None, None, None))
        began = time.monotonic()
        for _ in range(100):
            await pacer.settle(await pacer.reserve(10), RateHeaders())
        await pacer.close()
        return (time.monotonic() - began) / 100

    assert asyncio.run(main()) < 0.05


def test_four_clients_use_a_full_bucket_up_without_a_429(database: Database) -> None:
    with serve(ServerConfig(tokens_per_minute=120_000, initial_fill=0.1, latency=0.05)) as server:
        pacers = [PostgresPacer.of(database, config(server)) for _ in range(4)]
        threads = [
            threading.Thread(
                target=embed_batches,
                args=(server, [many(20, 1_000 * n + 20 * m) for m in range(16)]),
                kwargs={"pacer": pacer},
            )
            for n, pacer in enumerate(pacers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.seen.statuses[429] == 0
        assert len(server.seen.billed) == 4 * 16 * 20


@pytest.mark.parametrize("preset", [None, Limits(1_000_000, 3_000)])
def test_the_first_request_of_an_account_is_admitted(database: Database, preset: Limits | None) -> None:
    async def main() -> float:
        pacer = PostgresPacer(database, "b", preset)
        ticket = await pacer.reserve(1_000)
        await pacer.close()
        return ticket.waited_seconds

    assert asyncio.run(main()) < 3


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("headers", [FULL, RateHeaders()], ids=["limits", "no limits"])
def test_a_servers_clock_that_was_put_back_stops_nobody(database: Database, headers: RateHeaders, paused: bool) -> None:
    """By an hour: every time in the row lies in the future then."""

    async def main() -> float:
        pacer = PostgresPacer(database, "b")
        await pacer.settle(await pacer.reserve(10), headers)
        if paused:
            await pacer.pause(0.5)
        with database.connect() as connection:
            for path in ("{at}", "{paused_until}", "{tokens,at}", "{requests,at}"):
                connection.execute(
                    "UPDATE vector_pipeline_shared.pacing SET version = version + 1, state = jsonb_set(state, "
                    "%(path)s::text[], to_jsonb((state #>> %(path)s::text[])::float8 + 3600), false) "
                    "WHERE state #> %(path)s::text[] IS NOT NULL",
                    {"path": path},
                )
        ticket = await pacer.reserve(10)
        await pacer.close()
        return ticket.waited_seconds

    assert asyncio.run(main()) < 1


def test_how_much_a_server_takes_is_found_out_once_for_all_runs(database: Database) -> None:
    """A server that states no limits: the next run begins with as many requests as the last one ended with."""
    with serve(ServerConfig(latency=0.2, parallel=8, sends_headers=False)) as server:
        embed_batches(server, [many(5, n * 5) for n in range(80)], pacer=PostgresPacer.of(database, config(server)))
        server.seen.most_in_flight = 0
        later = [many(5, n * 5) for n in range(80, 88)]
        embed_batches(server, later, pacer=PostgresPacer.of(database, config(server)))
        assert server.seen.most_in_flight >= 6
