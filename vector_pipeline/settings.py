"""All settings of a pipeline. They are read from the environment here and checked before any work begins.

No other module reads the environment. Every other module takes its values as arguments, so two pipelines with different
settings can run in one process. docs/configuration.md describes each variable.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from vector_pipeline.errors import ConfigurationError

PREFIX = "VECTOR_PIPELINE_"

# Variables with the names that other software uses: a Postgres URL, OpenAI's SDK, Dagster.
FOREIGN_VARIABLES = {
    "database_url": "DATABASE_URL",
    "openai_api_key": "OPENAI_API_KEY",
    "openai_base_url": "OPENAI_BASE_URL",
    "openai_organization": "OPENAI_ORG_ID",
    "openai_project": "OPENAI_PROJECT_ID",
    "dagster_home": "DAGSTER_HOME",
}


# Models that run in this process and need no key, by names that no API has. The first one is the default.
EMBEDDED_MODELS = ("wordllama-256", "multilingual-e5-small-q4", "wordllama-korean-640")


def _identifier(value: str) -> str:
    if not (value == "" or (value.isidentifier() and value.isascii())):
        raise ValueError("may hold only ASCII letters, digits and _, and not begin with a digit")
    return value


def _schema(value: str) -> str:
    if "\x00" in value or not 0 < len(value.encode()) <= 63:
        raise ValueError("must have 1 to 63 bytes")
    if value.startswith("pg_") or value in ("information_schema", "vector_pipeline_shared"):
        raise ValueError("is reserved; choose another schema")
    return value


def _cron(value: str) -> str:
    # Dagster checks it again when the schedule is defined. This check names the variable.
    if len(value.split()) not in (5, 6) and not value.startswith("@"):
        raise ValueError("must be a cron line of five fields, such as '0 3 * * *'")
    return value


def _lines(value: object) -> object:
    """Several values as one text, one a line."""
    return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value


def _url(value: str) -> str:
    try:
        address = urlsplit(value)
    except ValueError:
        # Its message may quote a password.
        raise ValueError("must be an http:// or https:// URL") from None
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ValueError("must be an http:// or https:// URL")
    if "@" in value and "@" not in address.netloc and ":" in address.netloc:
        raise ValueError(
            "has a character in its user or password that ends them too early: write @ / ? # as %40 %2F %3F %23"
        )
    # The slash at the end of the path is dropped, also before a query.
    return address._replace(path=address.path.rstrip("/")).geturl()


def _without_driver(url: SecretStr) -> SecretStr:
    """A URL as SQLAlchemy writes it, such as postgresql+psycopg://, without the name of its driver."""
    return SecretStr(re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url.get_secret_value()))


def _queue_url(value: str) -> str:
    example = "must be the URL of an SQS queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/texts"
    try:
        address = urlsplit(value)
    except ValueError:
        raise ValueError(example) from None
    if address.scheme not in ("http", "https") or not address.hostname or address.path.count("/") < 2:
        raise ValueError(example)
    if "@" in value or address.query or address.fragment:
        raise ValueError("must be an address and no more: leave credentials to the environment")
    return value


# White space at the end of a prefix is part of it.
MAX_PREFIX_CHARACTERS = 1_000
_AS_IT_IS = StringConstraints(strip_whitespace=False, max_length=MAX_PREFIX_CHARACTERS)

# An empty value of these means nothing; that of others means unset.
_MAY_BE_EMPTY = ("query_prefix", "document_prefix")


def _utf8(value: str) -> str:
    if "\x00" in value or (not value.isascii() and _has_surrogate(value)):
        raise ValueError("must be text in UTF-8, without NUL")
    return value


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


class Settings(BaseModel):
    """The settings of one pipeline. Frozen. A wrong value raises ConfigurationError, which names its variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    # Where things are
    home: Path = Path(".vector_pipeline")
    """Folder for everything that the pipeline keeps on this machine: embedded server, stage files, Dagster's files."""
    source: Annotated[str, BeforeValidator(_lines)] | None = None
    """The source: a folder, or a URL that fsspec can open. Several: one a line."""
    events_url: Annotated[str, AfterValidator(_queue_url)] | None = None
    """URL of an SQS queue that receives the events of the source's buckets. Unset: the buckets are listed instead."""
    storage: str | None = None
    """Path or URL for the stage files (Parquet). Unset: `stages/` under the home."""
    database_url: Annotated[SecretStr, AfterValidator(_without_driver)] | None = None
    """Postgres with pgvector. Unset: the embedded server."""
    dagster_home: Path | None = None
    """Folder of the Dagster instance. Unset: `dagster/` under the home."""
    name: Annotated[str, AfterValidator(_identifier)] = ""
    """Prefix of the asset keys, partitions, jobs, sensors and schedules, for a second pipeline."""
    db_schema: Annotated[str, AfterValidator(_schema)] = Field(default="public", alias="schema")
    """Postgres schema of the tables and the view."""

    # The model
    model: str = Field(default="text-embedding-3-small", min_length=1)
    """Embedding model, by the API's name for it; or one of EMBEDDED_MODELS, which run in this process."""
    dimensions: PositiveInt | None = Field(default=None, le=4_000)
    """Dimensions of a vector. Unset: the model's own. pgvector indexes at most 4,000 (halfvec)."""
    index_type: Literal["halfvec", "vector"] | None = None
    """Type of the vectors in the index: half or full precision. The stored vectors are always in full, up to 2,000
    dimensions. Unset: as recorded with the vectors; full precision for new ones."""
    query_prefix: Annotated[str, _AS_IT_IS, AfterValidator(_utf8)] | None = None
    """What is sent before each question. Empty: nothing. Unset: as recorded with the vectors, else what it needs."""
    document_prefix: Annotated[str, _AS_IT_IS, AfterValidator(_utf8)] | None = None
    """What is sent before each text. Empty: nothing. Unset: as recorded with the vectors, else as the model needs."""
    provider: str | None = Field(default=None, min_length=1)
    """Provider of the embedding API. Unset: `openai` if a key or base URL is set, else the embedded model."""
    api_key: SecretStr | None = None
    """Key of that API. Unset: the provider's own variable, such as COHERE_API_KEY."""
    base_url: Annotated[str, AfterValidator(_url)] | None = None
    """Address of that API. Unset: the provider's own."""
    openai_api_key: SecretStr | None = None
    openai_base_url: Annotated[str, AfterValidator(_url)] | None = None
    openai_organization: str | None = None
    openai_project: str | None = None

    # How fast, how much
    tier: Literal["free", "1", "2", "3", "4", "5"] | None = None
    """Preset of OpenAI's published limits. Unset: limits are learned from the headers of answers."""
    tokens_per_minute: PositiveInt | None = None
    requests_per_minute: PositiveInt | None = None
    requests_per_day: PositiveInt | None = None
    max_tokens_per_request: PositiveInt = 280_000
    """Maximum weight of one request. A text weighs its tokens, or a quarter of its bytes if that is more."""
    max_inputs_per_request: PositiveInt = Field(default=2_048, le=2_048)
    max_in_flight: PositiveInt = Field(default=32, le=1_000)
    """Maximum number of requests under way."""
    timeout_seconds: PositiveFloat = 120.0
    """Timeout of one request."""
    retry_seconds: NonNegativeFloat = 600.0
    """How long temporary failures of one request are retried before the run fails."""
    embedding_mode: Literal["sync", "batch"] = "sync"
    max_cost_usd: NonNegativeFloat | None = None
    max_cost_usd_per_day: NonNegativeFloat | None = None
    usd_per_million_tokens: NonNegativeFloat | None = None
    """Price of the model, if the built-in table lacks it or is out of date."""

    # Text
    chunk_tokens: PositiveInt = Field(default=400, le=8_192)
    chunk_overlap: NonNegativeInt = 0
    chunk_strategy: Literal["recursive", "paragraph"] = "recursive"
    context: Literal["none", "headings", "title"] | None = None
    """What stands in front of a chunk when it is embedded and ranked: nothing, its headings, or title and headings.
    Unset: what the database was filled with; a new one is filled with `title` by the embedded model, whose vectors cost
    nothing, and with `none` by others and with `paragraph`."""
    text_field: str = Field(default="text", min_length=1)
    """Field of a record (JSON, JSONL, CSV) with its text."""
    id_field: str = Field(default="id", min_length=1)
    """Field of a record with its name. Without that field its number in the file is its name."""

    # Files and loading
    include: str = ""
    """Patterns of the wanted files, as in a .gitignore, one a line or separated by commas. Unset: all documents."""
    exclude: str = ""
    """Patterns of files that are not wanted, in the same form."""
    max_file_bytes: PositiveInt = 64 * 1024 * 1024
    reader_seconds: PositiveFloat = 60.0
    """Maximum processor time for one file that is read in a process of its own (PDF, Office, archives)."""
    reader_memory: PositiveInt = Field(default=1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """Maximum memory in bytes of each such process."""
    max_files_per_arrival: PositiveInt = 1_000
    max_bytes_per_arrival: PositiveInt = 64 * 1024 * 1024
    rows_per_batch: PositiveInt = 1_000
    quiet_seconds: NonNegativeFloat = 2.0
    """The sensor and the schedule skip a file until it has not changed for this time."""
    max_deleted_share: float = Field(default=0.5, ge=0, le=1)
    """Maximum share of a source's files that one scan accepts as deleted without confirmation."""
    keep_stages_days: NonNegativeFloat = 1.0
    """How many days the stage files of an arrival are kept after all its files are loaded."""
    backfill_cron: Annotated[str, AfterValidator(_cron)] = "0 3 * * *"
    backfill_max_runs: PositiveInt = 50
    """Maximum number of arrivals that one tick of the backfill schedule runs."""
    backfill_max_cost_usd: NonNegativeFloat | None = None
    """Budget of all runs of one tick of the backfill schedule together."""
    golden_set: Path | None = None
    """JSONL file of questions and the passages that answer them, by which searches are measured."""
    min_retrieval_recall: float = Field(default=0.0, ge=0, le=1)
    """recall@5 on the golden set below which its check is red, and no space is switched to."""
    min_recall: float = Field(default=0.95, ge=0, le=1)
    """Lowest recall@10 of the index with which its asset check passes."""
    grace_seconds: NonNegativeFloat = 86_400.0
    """How long a vector is kept after the last chunk that refers to it is gone."""

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.chunk_overlap >= self.chunk_tokens:
            raise ValueError(
                f"{variable('chunk_overlap')} is {self.chunk_overlap}: must be below "
                f"{variable('chunk_tokens')}, which is {self.chunk_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _provider_is_meant(self) -> Self:
        if "model" in self.model_fields_set and self.uses_embedded_model and self.model not in EMBEDDED_MODELS:
            raise ValueError(
                f"{variable('model')} is {self.model!r}, but neither {variable('openai_api_key')} nor "
                f"{variable('openai_base_url')} is set: set one of them, or unset {variable('model')} to use the "
                f"embedded model, or set it to {EMBEDDED_MODELS[1]} or {EMBEDDED_MODELS[2]}"
            )
        if "model" not in self.model_fields_set and self.provider_name not in ("openai", "embedded"):
            raise ValueError(
                f"{variable('provider')} is {self.provider!r}: set {variable('model')} to one of its models"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Settings from environment variables (default: `os.environ`). `overrides`, by field name, take precedence.

        Empty variables count as unset; an empty prefix of texts or questions means none. Raises ConfigurationError,
        which names the variable, the value and the range. It is also raised for a variable with the prefix that is not a
        setting, because its name is probably misspelt.
        """
        environment = os.environ if environment is None else environment
        by_variable = {variable(name): name for name in cls.model_fields}
        unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in by_variable)
        if unknown:
            raise ConfigurationError(f"{unknown[0]} is not a setting; {_closest(unknown[0], by_variable)}")
        values = {
            name: environment[var]
            for var, name in by_variable.items()
            if environment.get(var, "").strip() or (name in _MAY_BE_EMPTY and var in environment)
        }
        own_key = f"{values.get('provider', '')}_API_KEY".upper()
        if "provider" in values and environment.get(own_key, "").strip():
            values.setdefault("api_key", environment[own_key])
        settings = cls.of(**{**values, **overrides})
        if not settings.uses_embedded_model:
            _check_surroundings(environment)
        return settings

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Settings from values by field name. Raises ConfigurationError instead of pydantic's ValidationError."""
        by_alias = {cls.model_fields[name].alias or name: value for name, value in values.items()}
        try:
            return cls.model_validate(by_alias)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources, each once."""
        return tuple(dict.fromkeys(line.strip() for line in (self.source or "").splitlines() if line.strip()))

    @property
    def uses_embedded_server(self) -> bool:
        """Whether the embedded server is used."""
        return self.database_url is None

    @property
    def uses_embedded_model(self) -> bool:
        """Whether a model in this process is used: it is named, or there is neither a key nor a base URL."""
        return self.provider_name == "embedded"

    @property
    def provider_name(self) -> str:
        """The name of the provider."""
        given = (self.openai_api_key, self.openai_base_url, self.api_key, self.base_url)
        in_process = given == (None, None, None, None) or self.model in EMBEDDED_MODELS
        return self.provider or ("embedded" if in_process else "openai")

    @property
    def storage_url(self) -> str:
        """Path or URL of the stage files, without a slash at its end."""
        return (self.storage or str(self.home.absolute() / "stages")).rstrip("/")


def available_processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def variable(field: str) -> str:
    """The environment variable of a settings field."""
    if field in FOREIGN_VARIABLES:
        return FOREIGN_VARIABLES[field]
    return PREFIX + (Settings.model_fields[field].alias or field).upper()


def _check_surroundings(environment: Mapping[str, str]) -> None:
    """Raise ConfigurationError for variables that break the HTTP client: certificates and proxies."""
    certificates = environment.get("SSL_CERT_FILE", "")
    if certificates and not Path(certificates).is_file():
        raise ConfigurationError(f"SSL_CERT_FILE is {certificates!r}: there is no such file; unset it, or correct it")
    for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"):
        scheme, separator, _ = environment.get(name, "").partition("://")
        if not separator:
            continue
        if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
            raise ConfigurationError(
                f"{name} names a SOCKS proxy, which needs another package: `pip install 'httpx2[socks]'`, or unset it"
            )
        if scheme not in ("http", "https", "socks5", "socks5h"):
            raise ConfigurationError(f"{name} is not a proxy URL: it must begin with http://, https:// or socks5://")


def _closest(name: str, known: Mapping[str, str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "docs/configuration.md lists them all"


def _explain(error: ValidationError) -> str:
    """One line for the first problem: variable, value (never a secret's), and what it should be."""
    problem = error.errors()[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    field = next((n for n, f in Settings.model_fields.items() if f.alias == field), field)
    if field not in Settings.model_fields:
        return f"'{field}' is not a setting"
    # A URL may hold a password.
    secret = field in ("database_url", "openai_api_key", "api_key") or (
        field.endswith(("base_url", "events_url")) and "@" in str(problem["input"])
    )
    found = "" if secret else f" is {str(problem['input'])[:80]!r}:"
    return f"{variable(field)}{found} {message[0].lower()}{message[1:]}"
