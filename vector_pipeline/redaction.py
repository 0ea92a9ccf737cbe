"""Remove secrets from URLs and from texts that may quote URLs: no part of a password, key or token is shown.

Nothing is cut out of a URL's text where two readers may disagree on what the password is. `user:pa/ss@host` is a host
named `user` to one and a password to another, so everything up to the last `@` is hidden there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "***"
SHORT = 6

# Parameters whose values are never secret. The values of all others are hidden.
HARMLESS = frozenset({"api-version", "connect_timeout", "region", "sslmode", "target_session_attrs"})

# Parameters of URLs that are credentials: SAS and presigned URLs, tokens.
_CREDENTIAL = re.compile(
    r"(^|[-_.])(sig|key|auth|authorization|code|jwt|sas)($|[-_.])|signature|token|secret|passw|pwd|credential|"
    r"(api|access|account|shared|private)[-_.]?key",
    re.IGNORECASE,
)

# A user without a password, as in shown addresses of databases; and examples in messages.
_PLAIN = re.compile(r"postgres(ql)?://(user:password|[^:/?#@]*)@[^@?#]*$")

# A container of Azure and the account that it is in. No user is named like that, and there is no place for a password.
# https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-introduction-abfs-uri
_CONTAINER = re.compile(
    r"abfss?://[a-z0-9$-]{1,63}@(?=[a-z0-9-]+(\.[a-z0-9-]+)*\.(dfs|blob)\.core\.[a-z]+(\.[a-z]+)?([/?#]|$))"
)

# A URL inside a text ends at white space or a quote.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def shown(url: str) -> str:
    """A URL for messages: without user information and fragment, and with only harmless values in its query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    if (container := _CONTAINER.match(url)) is not None:
        account = shown(f"{scheme}://{url[container.end() :]}")
        return container.group() + account.partition("://")[2]
    # Everything before the last @ may be a part of a password, unless the authority has neither @ nor a strange port.
    if _may_hold_credentials(rest):
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    place, question_mark, query = rest.partition("#")[0].partition("?")
    if question_mark:
        place += "?" + "&".join(map(_shown_parameter, query.split("&")))
    return f"{scheme}://{place}"


def holds_credentials(url: str) -> bool:
    """Whether a URL holds a user, a password, a key or a token, also in a chain of URLs as fsspec allows."""
    for part in url.split("::"):
        _, separator, rest = part.partition("://")
        if not separator:
            continue
        if (container := _CONTAINER.match(part)) is not None:
            rest = part[container.end() :]
        if _may_hold_credentials(rest):
            return True
        parameters = (parameter.partition("=") for parameter in re.split(r"[?&;#]", rest)[1:])
        if any(equals and _CREDENTIAL.search(unquote(name)) for name, equals, _ in parameters):
            return True
    return False


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without some secrets in any spelling, and with its URLs in the form of `shown`."""
    for secret in sorted({s for known in secrets for s in _spellings(known) if s}, key=len, reverse=True):
        # A short secret may be part of a word, so only whole words are hidden.
        alone = r"\b" if len(secret) < SHORT and secret.isalnum() else ""
        text = re.sub(alone + re.escape(secret) + alone, HIDDEN, text)
    return _URL.sub(lambda found: found.group() if _PLAIN.match(found.group()) else shown(found.group()), text)


def _may_hold_credentials(rest: str) -> bool:
    if "@" not in rest:
        return False
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # Without a colon it is a host, and the @ stands in a path; with one it may be the beginning of `user:pa/ss@host`.
    return "@" in authority or ":" in authority.rpartition("]")[2]


def _shown_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if name.lower() in HARMLESS:
        return parameter
    return f"{name}={HIDDEN}" if equals else HIDDEN


def _spellings(secret: str) -> set[str]:
    return {secret, unquote(secret), quote(secret, safe=""), quote(secret)}
