"""The Batch API: half the price, an answer within a day. Submitting and harvesting are separate calls.

A ledger (`BatchLedger`, in Postgres: `store.batches`) knows every batch before the API does, so that a restart at
any moment goes on where it was and nothing is paid twice. What a batch did not answer is simply missing again
afterwards, and planned for the next one.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import openai
import orjson
from openai.types import Batch

from vector_pipeline.embedding.batch.ledger import BatchLedger, OpenBatch
from vector_pipeline.embedding.endpoint import explained_configuration, hide_query
from vector_pipeline.embedding.providers.base import BrokenAnswer, HiddenError, Kind, Question, WrongDimensions
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable, QuotaExhausted

# Limits of one batch (https://platform.openai.com/docs/guides/batch, read 2026-11-23): 50,000 inputs over all lines
# and 200 MB; a margin below the latter, since nobody says whether MB are millions.
MAX_INPUTS = 50_000
MAX_BYTES = 190_000_000

# Inputs of one line: an answer of a megabyte at 1,536 dimensions, and little lost where a line is refused.
MAX_INPUTS_PER_LINE = 128

# The completion window of 24 hours and some: a batch that the API does not know any more is not running either.
LONGEST_HOURS_OUT = 26.0

METADATA_KEY = "vector_pipeline_batch"
_OVER = ("completed", "failed", "expired", "cancelled")

# Of a line that failed: it goes with the next batch. Whatever else was wrong with it, it would be again.
_PASSING = (Kind.RETRY, Kind.RATE_LIMITED, Kind.QUOTA)


class NotKnown(ProviderRefused):
    """The API knows no such batch or file: another account's, or gone."""


@dataclass(slots=True)
class Submitted:
    """What was submitted, and what had to stay because the account's queue is full."""

    batches: int = 0
    inputs: int = 0
    tokens: int = 0
    left: int = 0


@dataclass(slots=True)
class Harvest:
    """What came back, and what is still out."""

    finished: int = 0
    inputs: int = 0
    tokens: int = 0
    out: int = 0
    out_inputs: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each batch that did not simply complete."""

    def add(self, more: Harvest) -> None:
        """Count another harvest in."""
        self.finished += more.finished
        self.inputs += more.inputs
        self.tokens += more.tokens
        self.out += more.out
        self.out_inputs += more.out_inputs
        self.problems += more.problems


def open_api(config: ClientConfig) -> openai.OpenAI:
    """The SDK's client for files and batches. Close it, or use it as a context manager."""
    address = urlsplit(config.address or OpenAI.base_url)
    with explained_configuration():
        return openai.OpenAI(
            # Servers of one's own need none, but the SDK wants one.
            api_key=config.access.key or "none",
            base_url=address._replace(query="", fragment="").geturl(),
            default_query=dict(parse_qsl(address.query)),
            http_client=openai.DefaultHttpxClient(auth=config.credentials, event_hooks={"request": [hide_query]}),
            organization=config.organization,
            project=config.project,
            timeout=600.0,
            # Reading and uploading may be repeated; creating a batch may not, and is called without.
            max_retries=3,
        )


def submit(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    space: str,
    inputs: Iterable[EmbeddingInput],
    *,
    limits: RequestLimits | None = None,
    queue_tokens: int | None = None,
) -> Submitted:
    """Submit texts as batches, as far as the account's queue has room for their tokens.

    A line of a batch is one request, for which `limits` hold, the API's own unless given.
    Texts that did not fit are counted in `left`: they are missing still, and submitted by a later call. Raises
    ProviderRefused (QuotaExhausted) and ProviderUnavailable; what was submitted before is in the ledger.
    """
    result = Submitted()
    parts = _parts(inputs, limits or RequestLimits(), queue_tokens)
    for lines in parts:
        tokens = sum(i.tokens for line in lines for i in line)
        if queue_tokens is not None and ledger.queued_tokens(config.bucket) + tokens > queue_tokens:
            result.left = sum(map(len, lines))
            break
        key = str(uuid.uuid4())
        # Held until the API has it: to a harvest it would look like one whose upload was cut off.
        with ledger.hold(key):
            ledger.plan(key, space, config.bucket, lines)
            admitted = _upload(api, config, ledger, key, lines)
        result.batches += 1
        result.inputs += sum(map(len, lines))
        result.tokens += tokens
        if not admitted:
            break
    result.left += sum(len(line) for lines in parts for line in lines)
    return result


def harvest(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    deliver: Callable[[str, Answer], None],
    *,
    space: str | None = None,
) -> Harvest:
    """Fetch what has been answered; `deliver(space, answer)` stores it, and may see an answer again after a crash.

    With `space` only its batches are looked at, else the pipeline's all. The inputs of an answer carry no text.
    Raises as `submit` does, and what `deliver` raises.
    """
    result = Harvest()
    for batch in ledger.unfinished():
        if space is not None and batch.space != space:
            continue
        with ledger.hold(batch.key) as mine:
            if not mine or not _harvest_one(api, config, ledger, batch, deliver, result):
                result.out += 1
                result.out_inputs += batch.inputs
    return result


def ready(api: openai.OpenAI, config: ClientConfig, ledger: BatchLedger, space: str) -> list[str]:
    """Keys of a space's batches that a harvest would bring further: answered, or not taken on by the API yet.

    One small request each and no result is fetched, so that it can be asked every few minutes. Raises as `submit`.
    """
    found = []
    for batch in ledger.unfinished():
        if batch.space != space:
            continue
        with ledger.hold(batch.key) as mine:
            if not mine:
                continue
            if batch.batch_id is None or _is_over(api, config, batch, batch.batch_id):
                found.append(batch.key)
    return found


def _is_over(api: openai.OpenAI, config: ClientConfig, batch: OpenBatch, batch_id: str) -> bool:
    try:
        with _explained(config):
            return api.batches.retrieve(batch_id).status in _OVER
    except NotKnown:
        return batch.hours_out > LONGEST_HOURS_OUT


def _parts(
    inputs: Iterable[EmbeddingInput], limits: RequestLimits, queue_tokens: int | None
) -> Iterator[list[list[EmbeddingInput]]]:
    """Batches of lines, each below all limits; an account's queue may be smaller than a batch could be."""
    most_tokens = queue_tokens or 1 << 62
    of_line = replace(limits, max_inputs=min(limits.max_inputs, MAX_INPUTS_PER_LINE))
    part: list[EmbeddingInput] = []
    size = tokens = 0
    for item in inputs:
        weight = len(orjson.dumps(item.text)) + 400
        if part and (len(part) >= MAX_INPUTS or size + weight > MAX_BYTES or tokens + item.tokens > most_tokens):
            yield list(pack(part, of_line, lambda i: weigh(i.tokens, i.text)))
            part, size, tokens = [], 0, 0
        part.append(item)
        size, tokens = size + weight, tokens + item.tokens
    if part:
        yield list(pack(part, of_line, lambda i: weigh(i.tokens, i.text)))


def _upload(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    key: str,
    lines: Sequence[Sequence[EmbeddingInput]],
) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        with path.open("wb") as file:
            for number, line in enumerate(lines):
                file.write(orjson.dumps(_request(config, number, line)) + b"\n")
        with _explained(config):
            uploaded = api.files.create(file=path, purpose="batch")
    ledger.uploaded(key, uploaded.id)
    return _create(api, config, ledger, key, uploaded.id)


def _request(config: ClientConfig, number: int, line: Sequence[EmbeddingInput]) -> dict[str, Any]:
    question = Question(config.model, [i.text for i in line], dimensions=config.dimensions)
    return {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": OpenAI().fields(question)}


def _create(api: openai.OpenAI, config: ClientConfig, ledger: BatchLedger, key: str, file_id: str) -> bool:
    """Have the API take a batch on; False where its queue is full, which is a wait and not an error."""
    try:
        with _explained(config):
            batch = api.with_options(max_retries=0).batches.create(
                input_file_id=file_id,
                endpoint="/v1/embeddings",
                completion_window="24h",
                metadata={METADATA_KEY: key},
            )
    except (ProviderRefused, ProviderUnavailable) as error:
        if not _queue_is_full(str(error)):
            raise
        ledger.sent_back(key, str(error))
        return False
    ledger.submitted(key, batch.id)
    return True


def _queue_is_full(message: str) -> bool:
    return "token_limit_exceeded" in message or "nqueued token limit" in message


def _harvest_one(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    batch: OpenBatch,
    deliver: Callable[[str, Answer], None],
    result: Harvest,
) -> bool:
    """Bring one batch further; whether it is finished."""
    batch_id, over = batch.batch_id, False
    if batch_id is None:
        batch_id, over = _adopt(api, config, ledger, batch, result)
    if batch_id is None:
        return over
    try:
        with _explained(config):
            state = api.batches.retrieve(batch_id)
    except NotKnown as error:
        return _set_aside(ledger, batch, batch_id, str(error), result)
    if state.status not in _OVER:
        return False
    problem = _problem(state)
    if problem is not None and _queue_is_full(problem):
        ledger.sent_back(batch.key, problem)
        return False
    lines = ledger.lines(batch.key)
    refused: list[int] = []
    for file_id in (state.output_file_id, state.error_file_id):
        try:
            for line in _lines(api, config, file_id):
                _take(config, batch.space, lines, line, deliver, result, refused)
        except NotKnown:
            result.problems.append(f"batch {batch_id}: its results are gone; what they held is submitted again")
    ledger.refused(batch.key, refused)
    ledger.finished(batch.key, state.status, problem)
    result.finished += 1
    if state.status != "completed" or problem is not None:
        result.problems.append(f"batch {batch_id} {state.status}: {problem or 'the rest is submitted again'}")
    for file_id in (batch.file_id, state.output_file_id, state.error_file_id):
        if file_id is not None:
            with suppress(openai.OpenAIError):
                api.files.delete(file_id)
    return True


def _set_aside(ledger: BatchLedger, batch: OpenBatch, batch_id: str, reason: str, result: Harvest) -> bool:
    """Give a batch up that the API does not know; whether that was done.

    Not while it may still be running: with the key of another account every batch is unknown, and what was ordered
    with the right one would be paid for again.
    """
    if batch.hours_out <= LONGEST_HOURS_OUT:
        result.problems.append(
            f"batch {batch_id}: {reason}; is this the key of another account? Its {batch.inputs:,} texts are "
            f"submitted again in {LONGEST_HOURS_OUT - batch.hours_out:.0f} hours"
        )
        return False
    ledger.finished(batch.key, "unknown", reason)
    result.finished += 1
    result.problems.append(f"batch {batch_id}: {reason}; its {batch.inputs:,} texts are submitted again")
    return True


def _adopt(
    api: openai.OpenAI, config: ClientConfig, ledger: BatchLedger, batch: OpenBatch, result: Harvest
) -> tuple[str | None, bool]:
    """The id of a batch whose submission was not noted or not admitted, and whether the batch is over without one.

    It is submitted where the API knows none.
    """
    if batch.file_id is None:
        # Never uploaded: nothing was paid, and its texts are planned again.
        ledger.finished(batch.key, "cancelled", "it was never uploaded")
        return None, True
    with _explained(config):
        for known in api.batches.list(limit=100):
            if (known.metadata or {}).get(METADATA_KEY) == batch.key and known.status != "failed":
                ledger.submitted(batch.key, known.id)
                return known.id, False
    try:
        _create(api, config, ledger, batch.key, batch.file_id)
    except NotKnown as error:
        # Its file is gone before the API took it on: nothing was paid either.
        ledger.finished(batch.key, "cancelled", str(error))
        result.problems.append(f"the file {batch.file_id} of a batch is gone; its texts are submitted again")
        return None, True
    return None, False


def _lines(api: openai.OpenAI, config: ClientConfig, file_id: str | None) -> Iterator[dict[str, Any]]:
    """The lines of a result file, which may be hundreds of megabytes and is not held in memory."""
    if file_id is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        with _explained(config), api.files.with_streaming_response.content(file_id) as response:
            response.stream_to_file(path)
        with path.open("rb") as file:
            for line in file:
                # What cannot be read answers nothing, and is missing again.
                with suppress(orjson.JSONDecodeError):
                    yield orjson.loads(line)


def _take(
    config: ClientConfig,
    space: str,
    lines: Mapping[int, list[EmbeddingInput]],
    line: dict[str, Any],
    deliver: Callable[[str, Answer], None],
    result: Harvest,
    refused: list[int],
) -> None:
    """One line of a result file; a line that failed is missing again, one that was refused is noted as such."""
    inputs = lines.get(int(line["custom_id"])) if str(line.get("custom_id")).isdecimal() else None
    response = line.get("response")
    if inputs is None or not isinstance(response, Mapping):
        return
    number, status = int(line["custom_id"]), int(response.get("status_code") or 0)
    if status != 200:
        if OpenAI().classify(status, {}, response.get("body")).kind not in _PASSING:
            refused.append(number)
        return
    try:
        question = Question(config.model, [""] * len(inputs), dimensions=config.dimensions)
        found = OpenAI().read(response.get("body"), question)
    except (BrokenAnswer, HiddenError):
        # Paid for, and not to be again and again: the ordinary way gives up in time.
        refused.append(number)
        return
    except WrongDimensions as error:
        raise ProviderRefused(f"model {config.model}: {error}; check VECTOR_PIPELINE_DIMENSIONS") from error
    if found.useless:
        refused.append(number)
    tokens = found.tokens or sum(i.tokens for i in inputs)
    good = [n for n in range(len(inputs)) if n not in set(found.useless)]
    deliver(space, Answer([inputs[n] for n in good], found.vectors[good], tokens, found.model))
    result.inputs += len(good)
    result.tokens += tokens


def _problem(state: Batch) -> str | None:
    found = state.errors.data if state.errors and state.errors.data else []
    return f"{found[0].code}: {(found[0].message or '')[:300]}" if found else None


@contextmanager
def _explained(config: ClientConfig) -> Iterator[None]:
    """Turns the SDK's errors into ours, as for embeddings."""
    where = f"the Batch API of {config.where}"
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body or error.message
        problem = OpenAI().classify(error.status_code, error.response.headers, body, config.without_secrets)
        if problem.kind is Kind.QUOTA:
            raise QuotaExhausted(f"the account has no quota left ({problem.message}); see its billing page") from None
        if problem.kind in (Kind.RETRY, Kind.RATE_LIMITED):
            raise ProviderUnavailable(f"{where} cannot at present ({problem.message}); run again later") from None
        kind = NotKnown if error.status_code == 404 else ProviderRefused
        raise kind(f"{where} refuses ({problem.message})") from None
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        # The SDK lets errors of the transport through where a file is read as it comes.
        cause = type(error.__cause__ or error).__name__
        raise ProviderUnavailable(f"{where}: connection lost ({cause}); run again later") from None
