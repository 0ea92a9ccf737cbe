"""The Batch API from submission to harvest, with the ledger in a real Postgres and the server over real HTTP."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from vector_pipeline.embedding.batch.api import open_api
from vector_pipeline.embedding.batch.harvest import Harvest, harvest, ready
from vector_pipeline.embedding.batch.submit import MAX_INPUTS_PER_LINE, BatchLimits, Submitted, submit
from vector_pipeline.embedding.client import Answer, EmbeddingInput
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable
from vector_pipeline.store.connection import Database
from vector_pipeline.store.shared.batches import PostgresBatchLedger
from vector_pipeline_tests.support.asking import config, inputs, many
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.openai_server.embedding import vector_of

pytestmark = pytest.mark.slow

SPACE = "small_1536"


class BatchRun:
    """One run: a ledger, and a store that remembers what was delivered."""

    def __init__(
        self, database: Database, server: RunningServer, owner: str = "public", stored: dict[bytes, Any] | None = None
    ) -> None:
        self.connection = database.connect()
        self.config = config(server)
        self.ledger = PostgresBatchLedger(self.connection, owner, self.config.bucket)
        self.stored: dict[bytes, Any] = stored if stored is not None else {}

    def submit(
        self, inputs: list[EmbeddingInput], queue_tokens: int | None = None, limits: BatchLimits | None = None
    ) -> Submitted:
        under_way = self.ledger.under_way(SPACE, [i.content_hash for i in inputs])
        wanted = [i for i in inputs if i.content_hash not in under_way and i.content_hash not in self.stored]
        with open_api(self.config) as api:
            return submit(api, self.config, self.ledger, SPACE, wanted, queue_tokens=queue_tokens, batch_limits=limits)

    def harvest(self, deliver: Callable[[str, Answer], None] | None = None) -> Harvest:
        with open_api(self.config) as api:
            return harvest(api, self.config, self.ledger, deliver or self.deliver)

    def deliver(self, space: str, answer: Answer) -> None:
        assert space == SPACE
        for asked, vector in zip(answer.inputs, answer.vectors, strict=True):
            self.stored[asked.content_hash] = vector

    def assert_right(self, inputs: list[EmbeddingInput]) -> None:
        for asked in inputs:
            assert (self.stored[asked.content_hash] == vector_of(asked.text, 1_536)).all()


def test_what_was_submitted_comes_back_right_whatever_the_order_of_the_results(database: Database) -> None:
    inputs = many(300)
    with serve() as server:
        run = BatchRun(database, server)
        submitted = run.submit(inputs)
        assert (submitted.batches, submitted.inputs, submitted.left) == (1, 300, 0)
        assert submitted.tokens == sum(i.tokens for i in inputs)
        harvest = run.harvest()
        assert (harvest.finished, harvest.inputs, harvest.out) == (1, 300, 0)
        assert harvest.tokens == server.seen.tokens
        run.assert_right(inputs)
        assert run.harvest() == Harvest()


def test_a_batch_that_is_still_out_is_waited_for_and_not_submitted_again(database: Database) -> None:
    with serve(ServerConfig(batch_seconds=3_600)) as server:
        run = BatchRun(database, server)
        run.submit(many(10))
        harvest = run.harvest()
        assert (harvest.out, harvest.out_inputs, harvest.finished) == (1, 10, 0)
        again = BatchRun(database, server)
        assert again.submit(many(12)).inputs == 2


def test_a_full_queue_is_a_wait(database: Database) -> None:
    inputs = many(100)
    limit = sum(i.tokens for i in inputs) // 2 + 10
    with serve(ServerConfig(batch_queue_tokens=limit)) as server:
        run = BatchRun(database, server)
        first = run.submit(inputs, queue_tokens=limit)
        assert first.inputs + first.left == 100
        assert first.left > 0
        rounds = 1
        while len(run.stored) < 100:
            run.harvest()
            run.submit(inputs, queue_tokens=limit)
            rounds += 1
            assert rounds < 6
        run.assert_right(inputs)
        assert server.seen.paid_twice == 0


@pytest.mark.parametrize("validates", [False, True])
def test_an_account_whose_queue_is_smaller_than_its_tiers_is_learned_and_kept(
    database: Database, validates: bool
) -> None:
    inputs = many(400)
    tokens = sum(i.tokens for i in inputs)
    with serve(ServerConfig(batch_queue_tokens=tokens // 2 + 10, batch_validates=validates)) as server:
        rounds = 0
        stored: dict[bytes, Any] = {}
        while len(stored) < 400:
            # Each time a new process: what was learned is kept with the account.
            run = BatchRun(database, server, stored=stored)
            run.harvest()
            run.submit(inputs, queue_tokens=3_000_000)
            rounds += 1
            assert rounds < 6
        assert run.ledger.queue(run.config.bucket).limit == tokens // 2 + 10
        assert server.seen.paid_twice == 0
        failed = run.connection.execute(
            "SELECT count(*) FROM vector_pipeline_shared.batches WHERE outcome = 'failed'"
        ).fetchone()
        assert failed == (1,), "the same too large batch is not submitted again"


def test_batches_of_a_pipeline_that_is_gone_take_no_room_for_ever(database: Database) -> None:
    with serve(ServerConfig(batch_seconds=3_600)) as server:
        gone, other = BatchRun(database, server, owner="gone"), BatchRun(database, server)
        assert gone.submit(many(10)).inputs == 10
        limit = sum(i.tokens for i in many(12))
        assert other.submit(many(10, 20), queue_tokens=limit).inputs < 10
        other.connection.execute(
            "UPDATE vector_pipeline_shared.batches SET created_at = created_at - interval '27 hours', "
            "submitted_at = submitted_at - interval '27 hours' WHERE owner = 'gone'"
        )
        assert other.submit(many(10, 20), queue_tokens=limit).left == 0


def test_a_batch_that_had_no_room_is_told_from_one_that_is_out(database: Database) -> None:
    with serve(ServerConfig(batch_queue_tokens=1_500, batch_validates=True, batch_seconds=3_600)) as server:
        run = BatchRun(database, server)
        run.submit(many(400))
        harvest = run.harvest()
        assert (harvest.out, harvest.finished) == (0, 1)
        assert "queue of 1,500 tokens had no room for it; its 400 texts are submitted again" in harvest.problems[0]
        run.submit(many(400))
        assert run.harvest().out == 1


def test_a_queue_that_others_have_filled_is_said_and_waited_for(database: Database) -> None:
    """The ledger knows nothing of what others have queued."""
    with serve(ServerConfig(batch_queue_tokens=5_000, batch_seconds=1.0)) as server:
        other = BatchRun(database, server)
        other.config = config(server, organization="others")
        other.ledger = PostgresBatchLedger(other.connection, "public", other.config.bucket)
        began = time.monotonic()
        assert other.submit(many(450, 1_000)).inputs == 450
        run = BatchRun(database, server)
        submitted = run.submit(many(300))
        assert (submitted.inputs, submitted.left) == (0, 300)
        assert submitted.full is not None
        assert "queue of 5,000 tokens is full with batches of others" in submitted.full
        assert run.harvest() == Harvest()
        while len(run.stored) < 300:
            # The batch of the others ends a second after it was created, which may have taken long.
            other.harvest()
            run.submit(many(300))
            run.harvest()
            assert time.monotonic() - began < 60
        run.assert_right(many(300))
        assert server.seen.paid_twice == 0


def test_a_part_that_fits_beside_what_others_have_queued_is_submitted(database: Database) -> None:
    with serve(ServerConfig(batch_queue_tokens=10_000, batch_seconds=3_600)) as server:
        other = BatchRun(database, server)
        other.config = config(server, organization="others")
        other.ledger = PostgresBatchLedger(other.connection, "public", other.config.bucket)
        assert other.submit(many(500, 1_000)).inputs == 500
        run = BatchRun(database, server)
        first = run.submit(many(800))
        assert 100 < first.inputs < 500
        assert first.left == 800 - first.inputs


def test_a_line_that_fails_a_second_time_is_to_be_sent_singly(database: Database) -> None:
    inputs = many(300)
    with serve(ServerConfig(batch_fails_word="number 5 ")) as server:
        run = BatchRun(database, server)
        for expected in (set(), {i.content_hash for i in inputs[:MAX_INPUTS_PER_LINE]}):
            run.submit(inputs)
            run.harvest()
            assert run.ledger.to_send_singly(SPACE, [i.content_hash for i in inputs]) == expected


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
def test_what_was_done_of_a_batch_that_ended_early_is_kept_and_only_the_rest_submitted(
    database: Database, ends: Any
) -> None:
    inputs = many(600)
    with serve(ServerConfig(batch_ends=ends)) as server:
        run = BatchRun(database, server)
        run.submit(inputs)
        harvest = run.harvest()
        assert 0 < len(run.stored) < 600
        assert harvest.problems
        assert ends in harvest.problems[0]
        assert run.submit(inputs).inputs == 600 - len(run.stored)
        assert server.seen.paid_twice == 0


def test_a_batch_that_failed_as_a_whole_is_submitted_again(database: Database) -> None:
    with serve(ServerConfig(batch_ends="failed")) as server:
        run = BatchRun(database, server)
        run.submit(many(10))
        harvest = run.harvest()
        assert harvest.problems == ["batch batch_1 failed: internal_error: The batch failed."]
        assert run.submit(many(10)).inputs == 10


def test_lines_that_failed_are_missing_again_and_the_others_are_stored(database: Database) -> None:
    inputs = many(300)
    with serve(ServerConfig(batch_fails_word="number 5 ")) as server:
        run = BatchRun(database, server)
        run.submit(inputs)
        run.harvest()
        assert len(run.stored) == 300 - MAX_INPUTS_PER_LINE
        assert run.ledger.to_send_singly(SPACE, [i.content_hash for i in inputs]) == set()


def test_texts_of_a_line_that_was_refused_are_to_be_sent_singly(database: Database) -> None:
    inputs = many(300)
    with serve(ServerConfig(bad_word="number 5 ")) as server:
        run = BatchRun(database, server)
        run.submit(inputs)
        run.harvest()
        singly = run.ledger.to_send_singly(SPACE, [i.content_hash for i in inputs])
        assert singly == {i.content_hash for i in inputs[:MAX_INPUTS_PER_LINE]}
        run.assert_right(inputs[MAX_INPUTS_PER_LINE:])


def test_a_batch_whose_submission_was_not_noted_is_found_again_and_not_paid_twice(database: Database) -> None:
    """Killed between the API's answer and the note of it."""
    with serve() as server:
        run = BatchRun(database, server)
        run.submit(many(10))
        run.connection.execute(
            "UPDATE vector_pipeline_shared.batches SET state = 'uploaded', batch_id = NULL, submitted_at = NULL"
        )
        again = BatchRun(database, server)
        assert again.harvest().inputs == 10
        again.assert_right(many(10))
        assert server.seen.paid_twice == 0


def test_a_batch_that_was_never_uploaded_is_planned_anew(database: Database) -> None:
    with serve() as server:
        run = BatchRun(database, server)
        run.ledger.plan(str(uuid.uuid4()), SPACE, run.config.bucket, [many(10)])
        assert run.submit(many(10)).inputs == 0, "until it is clear that nobody is uploading it"
        run.harvest()
        assert run.submit(many(10)).inputs == 10


def test_a_harvest_that_was_interrupted_is_repeated_whole(database: Database) -> None:
    inputs = many(300)
    with serve() as server:
        run = BatchRun(database, server)
        run.submit(inputs)

        def fail(space: str, answer: Answer) -> None:
            if run.stored:
                raise ProviderUnavailable("interrupted")
            run.deliver(space, answer)

        with pytest.raises(ProviderUnavailable):
            run.harvest(fail)
        assert run.harvest().inputs == 300
        run.assert_right(inputs)
        assert server.seen.paid_twice == 0


def test_two_runs_do_not_harvest_the_same_batch_at_once(database: Database) -> None:
    with serve() as server:
        run, other = BatchRun(database, server), BatchRun(database, server)
        run.submit(many(10))
        key = run.ledger.unfinished()[0].key
        with other.ledger.hold(key) as mine:
            assert mine
            assert run.harvest().out == 1
        assert run.harvest().finished == 1


def test_a_wrong_key_is_refused_in_one_line_without_the_key(database: Database) -> None:
    with serve(ServerConfig()) as server:
        run = BatchRun(database, server)
        run.config = config(server, base_url=server.url.replace("/v1", "/v2"))
        with pytest.raises(ProviderRefused) as caught:
            run.submit(many(2))
        assert "sk-" not in str(caught.value)


def test_parts_stay_below_the_limits_of_a_batch(database: Database) -> None:
    with serve() as server:
        run = BatchRun(database, server)
        submitted = run.submit(many(250), limits=BatchLimits(max_inputs=100))
        assert (submitted.batches, submitted.inputs) == (3, 250)
        run.harvest()
        run.assert_right(many(250))


def test_a_batch_that_the_api_does_not_know_keeps_no_other_from_coming_in(database: Database) -> None:
    with serve() as server:
        run = BatchRun(database, server)
        run.submit(many(10))
        run.connection.execute("UPDATE vector_pipeline_shared.batches SET batch_id = 'batch_gone'")
        run.submit(many(20))
        harvest = run.harvest()
        run.assert_right(many(10, 10))
        assert (harvest.finished, harvest.out) == (1, 1)
        assert "another account" in harvest.problems[0]
        assert run.submit(many(20)).inputs == 0, "it may be running still"
        with open_api(run.config) as api:
            assert ready(api, run.config, run.ledger, SPACE) == []

        run.connection.execute("UPDATE vector_pipeline_shared.batches SET submitted_at = now() - interval '27 hours'")
        with open_api(run.config) as api:
            assert len(ready(api, run.config, run.ledger, SPACE)) == 1
        harvest = run.harvest()
        assert (harvest.finished, harvest.out) == (1, 0)
        assert "submitted again" in harvest.problems[0]
        assert run.submit(many(20)).inputs == 10


def test_results_that_are_gone_are_submitted_again(database: Database) -> None:
    with serve() as server:
        run = BatchRun(database, server)
        run.submit(many(10))
        with open_api(run.config) as api:
            results = api.batches.retrieve("batch_1").output_file_id
            assert results is not None
            api.files.delete(results)
        harvest = run.harvest()
        assert (harvest.finished, harvest.out) == (1, 0)
        assert "results are gone" in harvest.problems[0]
        assert run.submit(many(10)).inputs == 10


def test_an_uploaded_file_that_is_gone_keeps_no_batch_out_for_ever(database: Database) -> None:
    """It was kept while the queue was full, and the API keeps files for a time."""
    with serve() as server:
        run = BatchRun(database, server)
        key = str(uuid.uuid4())
        run.ledger.plan(key, SPACE, run.config.bucket, [many(10)])
        run.ledger.uploaded(key, "file-gone")
        harvest = run.harvest()
        assert harvest.out == 0
        assert "file-gone" in harvest.problems[0]
        assert run.submit(many(10)).inputs == 10


def test_lines_are_requests_that_the_api_takes(database: Database) -> None:
    """A hundred long texts are more than the tokens of one request."""
    long = inputs(*(f"{n} " + "word " * 4_000 for n in range(100)))
    with serve() as server:
        run = BatchRun(database, server)
        run.submit(long)
        assert run.harvest().inputs == 100
        assert run.ledger.to_send_singly(SPACE, [i.content_hash for i in long]) == set()


def test_a_vector_that_is_useless_is_not_ordered_again_and_again(database: Database) -> None:
    asked = [*many(5), *inputs("a text that means nothing")]
    with serve(ServerConfig(useless_word="means nothing")) as server:
        run = BatchRun(database, server)
        run.submit(asked)
        run.harvest()
        run.assert_right(many(5))
        assert asked[5].content_hash not in run.stored
        assert asked[5].content_hash in run.ledger.to_send_singly(SPACE, [i.content_hash for i in asked])
