"""Every error that this package raises on purpose.

    PipelineError
    ├── ConfigurationError      a setting, argument or environment is wrong: exit 2, nothing was done
    │   └── SpaceMismatch       settings name another model than the space that is active
    ├── SourceError             the source as a whole cannot be listed or opened
    ├── StorageError            what is kept between the stages cannot be written: no room, or only read
    ├── FileRejected            one file cannot be read: the file is rejected, the rest goes on
    ├── DatabaseError           Postgres answered no, or lacks something the pipeline needs
    │   ├── DatabaseUnavailable Postgres cannot be reached (now); trying again may help
    │   └── TakenOver           another run has taken over an arrival: this one writes nothing more
    ├── ProviderError           the embedding API cannot do what was asked
    │   ├── ProviderRefused     hopeless: key, quota, model, dimensions; trying again cannot help
    │   │   └── QuotaExhausted  no money left on the account: what was paid is kept
    │   ├── ProviderUnavailable transient failures went on for longer than the budget of time
    │   └── InputRejected       one text cannot be embedded: it is rejected by name, the rest goes on
    └── BudgetReached           MAX_COST_USD or MAX_COST_USD_PER_DAY: what was paid is kept

Messages name the thing, the value that was found, and the way out. They never hold a secret, nor more than the
first 80 characters of a document.
"""


class PipelineError(Exception):
    """Base of all errors raised on purpose. Its text is one line for the person who runs the pipeline."""


class ConfigurationError(PipelineError):
    """A setting, an argument or the environment is wrong. Nothing has been done."""


class SpaceMismatch(ConfigurationError):
    """The settings name another model or other dimensions than the active space holds."""


class SourceError(PipelineError):
    """The source as a whole cannot be listed or opened."""


class FileRejected(PipelineError):
    """One file cannot be read. The text says what is wrong with it and what to do."""


class StorageError(PipelineError):
    """Stage files or spills cannot be written at present: no room, a quota, or a read-only file system."""


class DatabaseError(PipelineError):
    """Postgres refused, or lacks something that the pipeline needs (pgvector, a right, a schema)."""


class DatabaseUnavailable(DatabaseError):
    """Postgres cannot be reached at present. The URL in the text carries no password."""


class TakenOver(DatabaseError):
    """Another run took over an arrival while this one was stopped or cut off. This one writes nothing more."""


class ProviderError(PipelineError):
    """The embedding API cannot answer a request."""


class ProviderRefused(ProviderError):
    """A retry cannot help: wrong key, no quota, unknown model, wrong dimensions."""


class QuotaExhausted(ProviderRefused):
    """The account has no money or quota left."""


class ProviderUnavailable(ProviderError):
    """Temporary failures lasted longer than RETRY_SECONDS. Earlier answers are stored."""


class InputRejected(ProviderError):
    """The API refuses one text among others. The error names it."""


class BudgetReached(PipelineError):
    """The next request would exceed MAX_COST_USD or MAX_COST_USD_PER_DAY. Paid answers are kept."""


def one_line(error: BaseException) -> str:
    """The text of any error on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun, for messages: '1 file', '2 files', '1,000 files'."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
